//! Plain data as a Rust expression: [`expression`] serializes any value of the contract's types, so that a new type
//! needs no code here.
//!
//! A `serde` serializer whose output is tokens: structs and variants by their names, text and lists as
//! `Borrowed(...)`, which is what [`Text`](proxy_runtime::site::Text) and [`List`](proxy_runtime::site::List) are in a
//! compiled site.

use std::fmt::Display;

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::quote;
use serde::ser::{self, Serialize};

/// Returns the expression whose value is `value`.
pub(super) fn expression(value: &impl Serialize) -> TokenStream {
    value.serialize(Speller).expect("the contract has nothing else").whole
}

/// An expression, with its elements if it is a tuple.
struct Spelled {
    whole: TokenStream,
    parts: Vec<TokenStream>,
}

impl From<TokenStream> for Spelled {
    fn from(whole: TokenStream) -> Spelled {
        Spelled { whole, parts: Vec::new() }
    }
}

/// A kind of value that the contract does not contain.
#[derive(Debug)]
struct Unspellable(String);

impl Display for Unspellable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unspellable {}

impl ser::Error for Unspellable {
    fn custom<T: Display>(message: T) -> Unspellable {
        Unspellable(message.to_string())
    }
}

type Result = std::result::Result<Spelled, Unspellable>;

struct Speller;

/// Returns the path of a type or variant. `Bytes` is the contract's, not the crate's.
fn path(name: &str, variant: Option<&str>) -> TokenStream {
    let ident = |name: &str| Ident::new(name, Span::call_site());
    let (name, site) = (ident(name), (name == "Bytes").then(|| quote!(site::)));
    match variant.map(ident) {
        Some(variant) => quote!(#site #name::#variant),
        None => quote!(#site #name),
    }
}

macro_rules! literals {
    ($($method:ident $type:ty => $literal:ident),* $(,)?) => {
        $(fn $method(self, value: $type) -> Result {
            let literal = Literal::$literal(value);
            Ok(quote!(#literal).into())
        })*
    };
}

impl ser::Serializer for Speller {
    type Ok = Spelled;
    type Error = Unspellable;
    type SerializeSeq = Elements;
    type SerializeTuple = Elements;
    type SerializeTupleStruct = Elements;
    type SerializeTupleVariant = Elements;
    type SerializeMap = ser::Impossible<Spelled, Unspellable>;
    type SerializeStruct = StructMembers;
    type SerializeStructVariant = StructMembers;

    literals! {
        serialize_i8 i8 => i8_unsuffixed,
        serialize_i16 i16 => i16_unsuffixed,
        serialize_i32 i32 => i32_unsuffixed,
        serialize_i64 i64 => i64_unsuffixed,
        serialize_u8 u8 => u8_unsuffixed,
        serialize_u16 u16 => u16_unsuffixed,
        serialize_u32 u32 => u32_unsuffixed,
        serialize_f32 f32 => f32_unsuffixed,
        serialize_f64 f64 => f64_unsuffixed,
        serialize_char char => character,
    }
    fn serialize_u64(self, value: u64) -> Result {
        if value == u64::MAX {
            return Ok(quote!(u64::MAX).into());
        }
        let literal = Literal::u64_unsuffixed(value);
        Ok(quote!(#literal).into())
    }
    fn serialize_bool(self, value: bool) -> Result {
        Ok(quote!(#value).into())
    }
    fn serialize_str(self, value: &str) -> Result {
        Ok(quote!(Borrowed(#value)).into())
    }
    fn serialize_bytes(self, value: &[u8]) -> Result {
        let value = Literal::byte_string(value);
        Ok(quote!(Borrowed(#value)).into())
    }
    fn serialize_none(self) -> Result {
        Ok(quote!(None).into())
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result {
        let value = value.serialize(Speller)?.whole;
        Ok(quote!(Some(#value)).into())
    }
    fn serialize_unit(self) -> Result {
        Ok(quote!(()).into())
    }
    fn serialize_unit_struct(self, name: &'static str) -> Result {
        Ok(path(name, None).into())
    }
    fn serialize_unit_variant(self, name: &'static str, _: u32, variant: &'static str) -> Result {
        Ok(path(name, Some(variant)).into())
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result {
        let (path, value) = (path(name, None), value.serialize(Speller)?.whole);
        Ok(quote!(#path(#value)).into())
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result {
        let Spelled { whole, parts } = value.serialize(Speller)?;
        let address = |octets: &[TokenStream]| match octets.len() {
            4 => quote!(IpAddr::V4(Ipv4Addr::new(#(#octets),*))),
            _ => quote!(IpAddr::V6(Ipv6Addr::from_octets([#(#octets),*]))),
        };
        // Addresses are serialized as octets, networks with the prefix length after them.
        if name == "IpAddr" {
            return Ok(address(&parts).into());
        }
        if let ("IpNet", Some((length, octets))) = (name, parts.split_last()) {
            let address = address(octets);
            return Ok(quote!(IpNet::new_assert(#address, #length)).into());
        }
        let path = path(name, Some(variant));
        Ok(quote!(#path(#whole)).into())
    }
    fn serialize_seq(self, _: Option<usize>) -> std::result::Result<Elements, Unspellable> {
        Ok(Elements { of: Collection::List, parts: Vec::new() })
    }
    fn serialize_tuple(self, _: usize) -> std::result::Result<Elements, Unspellable> {
        Ok(Elements { of: Collection::Tuple, parts: Vec::new() })
    }
    fn serialize_tuple_struct(self, name: &'static str, _: usize) -> std::result::Result<Elements, Unspellable> {
        Ok(Elements { of: Collection::Named(path(name, None)), parts: Vec::new() })
    }
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> std::result::Result<Elements, Unspellable> {
        Ok(Elements { of: Collection::Named(path(name, Some(variant))), parts: Vec::new() })
    }
    fn serialize_map(self, _: Option<usize>) -> std::result::Result<Self::SerializeMap, Unspellable> {
        Err(Unspellable("a map".to_owned()))
    }
    fn serialize_struct(self, name: &'static str, _: usize) -> std::result::Result<StructMembers, Unspellable> {
        Ok(StructMembers { name, path: path(name, None), members: Vec::new() })
    }
    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> std::result::Result<StructMembers, Unspellable> {
        Ok(StructMembers { name, path: path(name, Some(variant)), members: Vec::new() })
    }
    fn is_human_readable(&self) -> bool {
        // Addresses as octets, not as text.
        false
    }
}

/// The expression that elements form.
enum Collection {
    List,
    Tuple,
    Named(TokenStream),
}

/// A list, a tuple, or a similar value.
struct Elements {
    of: Collection,
    parts: Vec<TokenStream>,
}

impl Elements {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> std::result::Result<(), Unspellable> {
        self.parts.push(value.serialize(Speller)?.whole);
        Ok(())
    }

    fn spell(self) -> Result {
        let parts = self.parts;
        Ok(match self.of {
            Collection::List => quote!(Borrowed(&[#(#parts),*])).into(),
            Collection::Tuple => Spelled { whole: quote!((#(#parts),*)), parts },
            Collection::Named(path) => quote!(#path(#(#parts),*)).into(),
        })
    }
}

macro_rules! elements {
    ($($trait:ident $method:ident),*) => {
        $(impl ser::$trait for Elements {
            type Ok = Spelled;
            type Error = Unspellable;
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> std::result::Result<(), Unspellable> {
                self.push(value)
            }
            fn end(self) -> Result {
                self.spell()
            }
        })*
    };
}

elements!(
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
);

/// A struct, or a variant with fields.
struct StructMembers {
    name: &'static str,
    path: TokenStream,
    members: Vec<(&'static str, TokenStream)>,
}

impl StructMembers {
    fn spell(self) -> TokenStream {
        let StructMembers { name, path, members } = self;
        if let ("Duration", [(_, secs), (_, nanos)]) = (name, &members[..]) {
            let number = |tokens: &TokenStream| tokens.to_string().parse::<u64>().ok();
            return match (number(secs), number(nanos)) {
                (Some(secs), Some(nanos)) if nanos % 1_000_000 == 0 && secs < u64::MAX / 1000 => {
                    let millis = Literal::u64_unsuffixed(secs * 1000 + nanos / 1_000_000);
                    quote!(Duration::from_millis(#millis))
                }
                (None, _) => quote!(Duration::MAX),
                _ => quote!(Duration::new(#secs, #nanos)),
            };
        }
        let members = members.iter().map(|(name, value)| {
            let name = Ident::new(name, Span::call_site());
            quote!(#name: #value)
        });
        quote!(#path { #(#members),* })
    }
}

macro_rules! members {
    ($($trait:ident),*) => {
        $(impl ser::$trait for StructMembers {
            type Ok = Spelled;
            type Error = Unspellable;
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> std::result::Result<(), Unspellable> {
                self.members.push((name, value.serialize(Speller)?.whole));
                Ok(())
            }
            fn end(self) -> Result {
                Ok(self.spell().into())
            }
        })*
    };
}

members!(SerializeStruct, SerializeStructVariant);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proxy_runtime::site::{Bytes, HostField, IpNet, Setting};

    use super::*;

    #[track_caller]
    fn check(value: impl Serialize, expected: &str) {
        let plain = |text: &str| text.replace([' ', '\n'], "");
        assert_eq!(plain(&expression(&value).to_string()), plain(expected));
    }

    #[test]
    fn values() {
        check(Some(7_u16), "Some(7)");
        check(u64::MAX, "u64::MAX");
        check(("a", true), "(Borrowed(\"a\"), true)");
        check(vec![1_u8, 2], "Borrowed(&[1, 2])");
        check(Bytes::Fixed(b"a\0".to_vec().into()), "site::Bytes::Fixed(Borrowed(b\"a\\0\"))");
        check(HostField::Fixed("x".into()), "HostField::Fixed(Borrowed(\"x\"))");
        check(Setting::Fixed(Duration::from_millis(1500)), "Setting::Fixed(Duration::from_millis(1500))");
        check(Duration::MAX, "Duration::MAX");
        check(Duration::from_nanos(1), "Duration::new(0, 1)");
        let v4: IpNet = "10.0.0.0/8".parse().expect("a network");
        check(v4, "IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8)");
        let v6: std::net::IpAddr = "::1".parse().expect("an address");
        check(v6, "IpAddr::V6(Ipv6Addr::from_octets([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]))");
    }
}
