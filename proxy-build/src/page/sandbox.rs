//! What the sandbox of a site allows, as far as it is known at build ([`list`]).

use proxy_runtime::context::param::FilePath;
use proxy_runtime::site::{Sandbox, Setting, Text};

use super::escape;
use crate::model::Site;

/// Returns a table of what is allowed: folders and addresses of the site, parameters by their names, and what the system itself needs.
pub(super) fn list(site: &Site, sandbox: &Sandbox) -> String {
    let param = |index: &u16| format!("(param){}", site.params[usize::from(*index)].name);
    let shown = |setting: &Setting<Text>| match setting {
        Setting::Fixed(text) => text.to_string(),
        Setting::Param(index) => param(index),
    };
    let around = |path: String| format!("the folder of {path}");
    let files = site.files.iter().map(|file| match &file.path {
        FilePath::Fixed(text) => text.to_string(),
        FilePath::Param(index) => param(index),
    });
    let read = sandbox.read.iter().chain(sandbox.read_files.iter()).map(shown).chain(files).map(around);
    let system = sandbox.resolves.then(|| "files of the system's resolver".to_owned());
    let write = sandbox.write.iter().map(shown).chain(sandbox.write_files.iter().map(shown).map(around));
    let connect = match &sandbox.connect {
        Some(all) => all.iter().map(shown).collect(),
        None => vec!["any".to_owned()],
    };
    let mut out = String::from("<table>\n");
    for (what, mut list) in
        [("reads", read.chain(system).collect()), ("writes", write.collect()), ("connects to TCP ports", connect)]
    {
        list.sort();
        list.dedup();
        let list: Vec<_> = list.iter().map(|item| escape(item)).collect();
        let list = if list.is_empty() { "none".to_owned() } else { list.join("<br>") };
        out += &format!("<tr><th>{what}</th><td>{list}</td></tr>\n");
    }
    out + "</table>\n<p>All else is denied once the sockets are open, as far as the kernel supports that; <code>--check</code> prints it with \
           the values of a start.</p>\n"
}
