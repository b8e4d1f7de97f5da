//! What commands write. The binaries are those of a cargo that compiles
//! nothing.

use kiln_tests::kiln::stderr;

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
