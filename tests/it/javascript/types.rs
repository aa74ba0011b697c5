//! The published types: TypeScript's compiler takes what partners write, and refuses what cannot work.

use std::path::Path;
use std::process::Command;

use crate::host::clients;

#[test]
fn what_partners_write_compiles_against_the_published_types() {
    let uses = Path::new(env!("CARGO_MANIFEST_DIR")).join("javascript/types/uses.ts");
    let mut tsc = Command::new("node");
    tsc.arg(clients().join("node/node_modules/typescript/bin/tsc")).arg(uses);
    // Nobody else's types: not even those of packages that happen to be installed.
    tsc.args(["--noEmit", "--strict", "--target", "es2023", "--lib", "es2023", "--typeRoots", "/nowhere"]);
    let output = tsc.output().expect("node runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
