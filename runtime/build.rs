//! Takes the JavaScript engine into the program, if it is built: see `.cargo/xtask`.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-env-changed=TIDEGATE_JS_ENGINE");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let to = out.join("js-engine.wasm");
    match env::var_os("TIDEGATE_JS_ENGINE").filter(|file| Path::new(file).is_file()) {
        Some(file) => {
            println!("cargo:rerun-if-changed={}", Path::new(&file).display());
            fs::copy(&file, &to).expect("the JavaScript engine can be copied");
        }
        // Everything but JavaScript works without; asking for it says how to get it.
        None => {
            if let Some(file) = env::var_os("TIDEGATE_JS_ENGINE") {
                println!("cargo:rerun-if-changed={}", Path::new(&file).display());
            }
            fs::write(&to, []).expect("OUT_DIR can be written");
        }
    }
}
