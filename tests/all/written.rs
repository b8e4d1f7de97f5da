//! What commands write: never over what they read, and nothing of the folder that they are run in. The binaries are those of a cargo that compiles
//! nothing.

use kiln_tests::certificates::Authority;
use kiln_tests::kiln::{stderr, workspace};

use crate::lock::Sources;

const SITE: &str = "site * {\n    respond 200\n}\n";

#[test]
fn sources_are_never_overwritten() {
    let sources = Sources::new("overwriting");
    let embedding = "site * {\n    files \"public\" embed=#true\n}\n";
    for (name, text) in [
        ("shop", SITE),
        ("site.kdl", embedding),
        ("metered", &format!("admin \"127.0.0.1:9000\" {{\n    metrics\n}}\n{SITE}")),
        ("public/index.html", "hello"),
        ("public/out.licences.txt", "terms"),
        ("public/kustomization.yaml", "{}"),
        ("public/site.service", "unit"),
    ] {
        sources.write(name, text);
    }
    std::os::unix::fs::symlink("site.kdl", sources.path("link")).expect("linked");
    let key = minisign::KeyPair::generate_unencrypted_keypair().expect("a key").sk.to_box(None).expect("a key");
    sources.write("key", &key.into_string());
    let check = |arguments: &[&str], expected: Option<&str>| {
        let output = sources.command(arguments).output().expect("kiln runs");
        let said = stderr(&output);
        match expected {
            Some(file) => {
                assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
                let message = format!("error: {file} would be overwritten, and is read by this command\n");
                assert!(said.contains(&message), "{arguments:?}: {said}");
            }
            None => assert!(output.status.success(), "{arguments:?}: {said}"),
        }
    };
    let read = |name: &str| std::fs::read_to_string(sources.path(name)).expect("a file");
    check(&["build", "--fast", "shop"], Some("shop"));
    check(&["build", "--fast", "site.kdl", "-o", "site.kdl"], Some("site.kdl"));
    check(&["build", "--fast", "site.kdl", "-o", "./public/../link"], Some("./public/../link"));
    check(&["build", "--fast", "site.kdl", "-o", "public/index.html"], Some("public/index.html"));
    check(&["build", "--fast", "site.kdl", "-o", "public/out"], Some("public/out.licences.txt"));
    check(&["build", "--fast", "shop", "-o", "key", "--sign", "key"], Some("key"));
    check(&["image", "--fast", "site.kdl", "-o", "site.kdl"], Some("site.kdl"));
    check(&["report", "site.kdl", "-o", "site.kdl"], Some("site.kdl"));
    check(&["alerts", "metered", "-o", "metered"], Some("metered"));
    check(&["dashboard", "metered", "-o", "metered"], Some("metered"));
    check(&["unit", "site.kdl", "--name", "site", "-o", "public"], Some("public/site.service"));
    check(&["kubernetes", "site.kdl", "-o", "public"], Some("public/kustomization.yaml"));
    assert_eq!((read("shop"), read("site.kdl")), (SITE.to_owned(), embedding.to_owned()));
    assert_eq!(read("public/out.licences.txt"), "terms");
    // Binaries are replaced.
    check(&["build", "--fast", "shop", "-o", "out"], None);
    check(&["build", "--fast", "shop", "-o", "out"], None);
    check(&["image", "--fast", "shop", "-o", "out"], None);
}

#[test]
fn images_do_not_depend_on_the_name_of_the_folder() {
    let sources = Sources::new("titles");
    let image = |folder: &str, more: &[&str]| {
        sources.write(&format!("{folder}/site.kdl"), SITE);
        let (site, out) = (format!("{folder}/site.kdl"), format!("{folder}/image.tar"));
        let arguments = [&["image", "--fast", &site, "-o", &out], more].concat();
        let output = sources.command(&arguments).output().expect("kiln runs");
        assert!(output.status.success(), "{}", stderr(&output));
        std::fs::read(sources.path(&out)).expect("an image")
    };
    let tag = ["--tag", "registry.test:5000/web/shop:v1"];
    assert!(image("one", &tag) == image("two", &tag), "the images differ");
    // Without a tag, the folder has named it.
    assert!(image("one", &[]) != image("two", &[]), "the images are the same");
}

#[test]
fn images_contain_certificates_alone() {
    let sources = Sources::new("authorities");
    sources.write("site.kdl", "site * {\n    proxy \"https://a.test\"\n}\n");
    let authority = Authority::new(&sources.path(""));
    authority.sign("server", "server", &["a.test"]);
    let text = |name: &str| std::fs::read_to_string(sources.path(name)).expect("a file");
    let (certificate, key) = (text("server.pem"), text("server.key"));
    assert!(key.contains("PRIVATE KEY-----"), "{key}");
    sources.write("both.pem", &format!("# mine\n{key}{certificate}"));
    sources.write("broken.pem", "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n");
    let image = |ca: &str| {
        let arguments = ["image", "--fast", "site.kdl", "-o", "image.tar", "--ca", ca];
        sources.command(&arguments).output().expect("kiln runs")
    };
    for ca in ["server.key", "broken.pem", workspace().join("Cargo.lock").to_str().expect("text")] {
        let output = image(ca);
        assert_eq!(output.status.code(), Some(1), "{ca}");
        let expected = format!("error: {ca} has no certificates (PEM)\n");
        assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
    }
    let image = |ca: &str| {
        let output = image(ca);
        assert!(output.status.success(), "{}", stderr(&output));
        std::fs::read(sources.path("image.tar")).expect("an image")
    };
    assert!(image("both.pem") == image("server.pem"), "more than certificates is in the image");
}
