//! The library as the service puts it together, for tests that call its functions by themselves.

use holdfast::store::{FUNCTIONS, Function, function_library};

/// The text of the library.
pub(super) fn library() -> &'static str {
    &function_library().text
}

/// A function, by its name.
pub(super) fn function(name: &str) -> &'static Function {
    FUNCTIONS.iter().find(|function| function.name == name).unwrap_or_else(|| panic!("no function {name}"))
}

/// The kinds of keys of a function, in order, also those that it is given where the tenant has registered something.
pub(super) fn keys_of(name: &str) -> Vec<String> {
    let function = function(name);
    function.keys.iter().chain(function.optional_keys).map(|kind| kind.name().to_owned()).collect()
}
