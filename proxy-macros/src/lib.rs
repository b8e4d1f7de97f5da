//! `site!("site.kdl")`: the macro that compiles a site into a crate.
//!
//! A thin wrapper around `proxy_build::compile`. The path is relative to the crate's `Cargo.toml`. The result is an expression
//! of type `&'static proxy_runtime::site::Site`. On errors it is one `compile_error!` with all diagnostics, and a
//! placeholder of that type, so that rustc reports no other errors. An `include_bytes!` of each file makes Cargo track it.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::LitStr;

/// Compiles a site file into this crate.
///
/// ```ignore
/// fn main() -> std::process::ExitCode {
///     proxy_runtime::run(proxy_macros::site!("site.kdl"))
/// }
/// ```
#[proc_macro]
pub fn site(input: TokenStream) -> TokenStream {
    let literal = syn::parse_macro_input!(input as LitStr);
    let shown = literal.value();
    // Cargo sets this variable for every crate.
    let folder = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let prepared = std::env::var(proxy_build::PREPARED).is_ok_and(|prepared| prepared == shown);
    let compiled = proxy_build::compile_for_crate(&folder.join(&shown), &shown, prepared);
    let tracked: Vec<Tokens> = compiled
        .dependencies()
        .iter()
        .filter(|path| path.is_file())
        .filter_map(|path| {
            path.canonicalize().ok()?.to_str().map(|path| {
                quote!(
                    const _: &[u8] = include_bytes!(#path);
                )
            })
        })
        .collect();
    // The output of `prepare` in the build script. A site that needs it without it has failed to compile above.
    let bundle = std::env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default().join(proxy_build::BUNDLE);
    let result = match compiled.output(&bundle) {
        Some(output) => {
            let (items, site) = (output.items, output.site);
            quote!({ #(#tracked)* #items #site })
        }
        None => {
            let message = format!("{shown} does not compile\n\n{}", compiled.diagnostics(false).trim_end());
            let error = syn::Error::new(literal.span(), message).to_compile_error();
            quote!({
                #(#tracked)*
                #error;
                ::core::option::Option::<&'static ::proxy_runtime::site::Site>::None.unwrap()
            })
        }
    };
    result.into()
}
