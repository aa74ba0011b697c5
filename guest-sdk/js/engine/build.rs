//! Puts the prelude's files together, in their order, as the one function that `engine.rs` evaluates.

use std::path::Path;
use std::{env, fs};

fn main() {
    let folder = Path::new("../prelude");
    println!("cargo:rerun-if-changed={}", folder.display());
    let order = fs::read_to_string(folder.join("order.txt")).expect("the prelude has an order.txt");
    let mut whole = "(function (host, global) {\n'use strict';\n".to_owned();
    for name in order.lines().filter(|line| !line.is_empty()) {
        let part = fs::read_to_string(folder.join(name));
        whole += &part.unwrap_or_else(|error| panic!("`{name}` of order.txt cannot be read: {error}"));
    }
    whole += "})\n";
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    fs::write(Path::new(&out).join("prelude.js"), whole).expect("OUT_DIR can be written");
}
