//! Has the crate compiled again when a page of the binary was built: the macro that embeds them does not see new files.

fn main() {
    println!("cargo::rerun-if-changed=web/dist");
    println!("cargo::rerun-if-changed=build.rs");
}
