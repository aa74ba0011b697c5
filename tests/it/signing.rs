//! Signed uploads by the command line, on a real host: who made a version, and that an older one does not come as new.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tidegate::catalog::component_from_core;

use crate::host::{Host, program};
use crate::http::Partner;

const WAT: &str = include_str!("../guests/delivered.wat");

struct Bed {
    host: Host,
    folder: tempfile::TempDir,
    _data: tempfile::TempDir,
}

impl Bed {
    async fn new() -> Self {
        let (partner, data) = (Partner::start().await, tempfile::tempdir().unwrap());
        let host = Host::start(data.path(), partner.address, None);
        Self { host, folder: tempfile::tempdir().unwrap(), _data: data }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A component of the function `mailer`.
    fn component(&self, version: &str) -> PathBuf {
        let manifest = format!("name = \"mailer\"\nversion = \"{version}\"\nevents = [\"track\"]\n");
        let path = self.path(&format!("mailer-{version}.wasm"));
        std::fs::write(&path, component_from_core(WAT.as_bytes(), &manifest).unwrap()).unwrap();
        path
    }

    fn try_run(&self, args: &[&str], paths: &[&Path]) -> Output {
        let mut command = Command::new(program());
        // Where a path stands in the arguments is said by a `@`.
        let mut paths = paths.iter();
        for arg in args {
            match *arg {
                "@" => command.arg(paths.next().unwrap()),
                arg => command.arg(arg),
            };
        }
        command.args(["--output", "json"]).env("TIDEGATE_SERVER", format!("http://{}", self.host.admin));
        command.env("TIDEGATE_TOKEN", &self.host.token).output().unwrap()
    }

    fn run(&self, args: &[&str], paths: &[&Path]) -> Value {
        let output = self.try_run(args, paths);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// What a command says that must fail.
    fn refused(&self, args: &[&str], paths: &[&Path]) -> String {
        let output = self.try_run(args, paths);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_that_requires_signatures_gets_no_unsigned_version_in() {
    let bed = Bed::new().await;
    let (key, first) = (bed.path("key.pem"), bed.component("1"));
    let made = bed.run(&["signing-key", "new", "@"], &[&key]);
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(bed.refused(&["signing-key", "new", "@"], &[&key]).contains("never replaced"));
    let early = bed.refused(&["function", "push", "@", "--sign-key", "@"], &[&first, &key]);
    assert!(early.contains("unknown_signing_key"), "{early}");
    let public = made["public_key"].as_str().unwrap();
    let registered = bed.run(&["signing-key", "add", "ci", "--key", public], &[]);
    assert_eq!(registered["public_key"], made["public_key"]);
    assert_eq!(bed.run(&["signing-key", "require"], &[])["required"], false);
    assert_eq!(bed.run(&["signing-key", "require", "on"], &[])["required"], true);

    let unsigned = bed.refused(&["function", "push", "@"], &[&first]);
    assert!(unsigned.contains("signature_required") && unsigned.contains("`mailer`"), "{unsigned}");
    let pushed = bed.run(&["function", "push", "@", "--sign-key", "@"], &[&first, &key]);
    assert_eq!(pushed["version"]["signed"]["key"], registered["id"], "{pushed}");
    let again = bed.run(&["function", "push", "@"], &[&first]);
    assert_eq!(again["version"]["id"], pushed["version"]["id"], "what is there needs no signature to be there");
    // A script is built here when it is signed, since what is signed must be what is uploaded.
    let script = bed.path("hello.js");
    std::fs::write(&script, "async function onTrack() {}").unwrap();
    let hello = bed.run(&["function", "push", "@", "--sign-key", "@"], &[&script, &key]);
    assert!(hello["version"]["signed"]["sequence"].as_u64() >= pushed["version"]["signed"]["sequence"].as_u64());

    let id = registered["id"].as_str().unwrap();
    bed.run(&["signing-key", "revoke", id], &[]);
    let second = bed.component("2");
    let late = bed.refused(&["function", "push", "@", "--sign-key", "@"], &[&second, &key]);
    assert!(late.contains("unknown_signing_key"), "{late}");
    assert!(bed.refused(&["signing-key", "add", "ci 2", "--key", public], &[]).contains("name_taken"));
    let listed = bed.run(&["signing-key", "list"], &[]);
    assert!(listed["items"][0]["revoked_at"].is_string(), "{listed}");
    let version = bed.run(&["function", "show", "mailer", "--version", "1"], &[]);
    assert_eq!(version["signed"], pushed["version"]["signed"], "what it signed before stays");
    bed.run(&["signing-key", "require", "off"], &[]);
    bed.run(&["function", "push", "@"], &[&second]);
    let lines = bed.run(&["audit", "list"], &[]);
    let count =
        |action: &str| lines["items"].as_array().unwrap().iter().filter(|line| line["action"] == action).count();
    for (action, times) in [("signing-key.create", 1), ("signing-key.revoke", 1), ("partner.require-signatures", 2)] {
        assert_eq!(count(action), times, "{action}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_signed_version_does_not_come_as_a_new_one_and_no_signature_moves() {
    let bed = Bed::new().await;
    let (key, other) = (bed.path("key.pem"), bed.path("other.pem"));
    let public = bed.run(&["signing-key", "new", "@"], &[&key])["public_key"].as_str().unwrap().to_owned();
    let hex = bed.path("public.txt");
    std::fs::write(&hex, format!("{public}\n")).unwrap();
    bed.run(&["signing-key", "add", "release", "--public", "@"], &[&hex]);
    bed.run(&["signing-key", "new", "@"], &[&other]);
    let sign = |component: &Path, key: &Path, sequence: &str| {
        let made = bed.run(&["function", "sign", "@", "--key", "@", "--sequence", sequence], &[component, key]);
        PathBuf::from(made["file"].as_str().unwrap())
    };
    let [one, two, three] = ["1", "2", "3"].map(|version| bed.component(version));
    let [first, second] = [(&one, "1"), (&two, "2")].map(|(component, sequence)| sign(component, &key, sequence));
    assert_eq!(first, bed.path("mailer-1.wasm.sig"));
    let push = ["function", "push", "@", "--signature", "@"];
    let newest = bed.run(&push, &[&two, &second]);
    assert_eq!(newest["version"]["signed"]["sequence"], 2);
    let replayed = bed.refused(&push, &[&one, &first]);
    assert!(replayed.contains("signature_replayed") && replayed.contains("sequence 1, and 2"), "{replayed}");
    assert_eq!(
        bed.run(&push, &[&two, &second])["version"]["id"],
        newest["version"]["id"],
        "the same again is the same"
    );
    let equal = sign(&three, &key, "2");
    assert!(bed.refused(&push, &[&three, &equal]).contains("signature_replayed"));
    let moved = bed.refused(&push, &[&three, &second]);
    assert!(moved.contains("invalid_signature") && moved.contains("not over this component"), "{moved}");
    let strange = sign(&three, &other, "3");
    assert!(bed.refused(&push, &[&three, &strange]).contains("unknown_signing_key"));
    let ahead = sign(&three, &key, &i64::MAX.to_string());
    assert!(bed.refused(&push, &[&three, &ahead]).contains("more than a day"));
    let text = std::fs::read_to_string(&second).unwrap();
    std::fs::write(&second, text.replace(&public, &public.to_uppercase()).replace(" 2 ", " 3 ")).unwrap();
    assert!(bed.refused(&push, &[&two, &second]).contains("invalid_signature"), "a sequence is signed too");
    std::fs::write(&second, "ed25519 nothing").unwrap();
    assert!(bed.refused(&push, &[&two, &second]).contains("this is no signature"));
    let third = sign(&three, &key, "3");
    bed.run(&push, &[&three, &third]);
    let versions = bed.run(&["function", "versions", "mailer"], &[]);
    let sequences: Vec<_> =
        versions["items"].as_array().unwrap().iter().map(|one| &one["signed"]["sequence"]).collect();
    assert_eq!(sequences, [&json!(2), &json!(3)]);
}
