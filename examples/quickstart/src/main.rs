//! A proxy is three files: this, `site.kdl`, and `Cargo.toml`.

fn main() -> std::process::ExitCode {
    proxy_runtime::run(proxy_macros::site!("site.kdl"))
}
