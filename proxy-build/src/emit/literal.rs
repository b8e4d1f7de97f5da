//! Names, texts and networks as tokens.

use ipnet::IpNet;
use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;

use super::expression::expression;

/// `PREFIX_7`
pub(super) fn numbered(prefix: &str, index: usize) -> Ident {
    Ident::new(&format!("{prefix}_{index}"), Span::call_site())
}

/// `Borrowed("...")`
pub(super) fn text(text: &str) -> TokenStream {
    quote!(Borrowed(#text))
}

/// `&[IpNet, ...]`
pub(super) fn networks(networks: &[IpNet]) -> TokenStream {
    let networks = networks.iter().map(expression);
    quote!(&[#(#networks),*])
}
