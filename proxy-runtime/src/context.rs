//! The input of templates, matchers and filters: the facts of an exchange, the settings of this start, and what is derived from both. Pure;
//! shared with the compiler.

pub mod addresses;
pub mod claims;
pub mod facts;
pub mod matcher;
pub mod param;
pub mod settings;
pub mod template;
pub mod view;
