//! The commands of the front page, run as they stand there: every one of each chapter, in order, by a shell.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::host::{Host, functions, program};
use crate::http::{self, Partner};

/// A walk has fewer commands than this.
const MOST: usize = 12;

/// What a new user who reads the page would have at hand.
struct Walk {
    host: Host,
    partner: Partner,
    /// The folders of the page: `/tmp/tidegate` is `data` here, and others are below `home`.
    data: TempDir,
    home: TempDir,
    folder: PathBuf,
    /// Tokens by whose they are: `operator`, `partner`, `customer`.
    tokens: BTreeMap<&'static str, String>,
    token: String,
    /// The newest id of each kind that was printed, by what it begins with.
    ids: BTreeMap<String, String>,
    write_key: String,
    /// The newest public key that was printed.
    public_key: String,
}

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap()
}

/// The commands of every block of a chapter, each block with the heading that it stands below.
fn walks(chapter: &str) -> Vec<(String, Vec<String>)> {
    let page = page();
    let start = format!("\n## {chapter}\n");
    let chapter = page.split(&start).nth(1).expect("the chapter").split("\n## ").next().unwrap();
    let mut walks = Vec::new();
    for part in chapter.split("\n### ") {
        let heading = part.lines().next().unwrap().to_owned();
        for block in part.split("```sh\n").skip(1) {
            let block = block.split("```").next().unwrap_or_default();
            let commands: Vec<_> = block.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
            assert!((2..MOST).contains(&commands.len()), "{heading} has {} commands", commands.len());
            walks.push((heading.clone(), commands));
        }
    }
    walks
}

impl Walk {
    /// A host on an empty directory, as `tidegate serve --data /tmp/tidegate` starts it.
    fn start(partner: Partner) -> Self {
        let (data, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let host = Host::start(data.path(), partner.address, None);
        let tokens = BTreeMap::from([("operator", host.token.clone())]);
        let (token, folder) = (host.token.clone(), home.path().to_owned());
        let (ids, write_key, public_key) = (BTreeMap::new(), String::new(), String::new());
        Self { host, partner, data, home, folder, tokens, token, ids, write_key, public_key }
    }

    /// A command with what was printed before in the places that the page leaves open, and folders and hosts of this test for
    /// those of the page.
    fn filled(&self, command: &str) -> String {
        let at = |path: &str| self.home.path().join(path).display().to_string();
        let mut filled = command.replace("https://your.api", &self.partner.url());
        for (there, here) in [
            ("--set url=https://api.example.com", format!("--set url={}", self.partner.url())),
            ("https://tidegate.example.com", format!("http://{}", self.host.admin)),
            ("/tmp/tidegate", self.data.path().display().to_string()),
            ("/tmp/again", at("again")),
            ("/backups/", at("backups-")),
            ("--write-key …", format!("--write-key {}", self.write_key)),
            ("--key HEX", format!("--key {}", self.public_key)),
        ] {
            filled = filled.replace(there, &here);
        }
        for (prefix, id) in &self.ids {
            filled = filled.replace(&format!("{prefix}_…"), id);
        }
        assert!(!filled.split(" #").next().unwrap().contains('…'), "nothing printed what `{command}` needs");
        filled
    }

    /// Runs a command as the page says; what it printed, and what it said beside that.
    fn run(&mut self, command: &str) -> String {
        if let Some(rest) = command.strip_prefix("export TIDEGATE_TOKEN=") {
            let whose = ["operator", "partner", "customer"].into_iter().find(|whose| rest.contains(whose));
            self.token = self.tokens[whose.unwrap_or("operator")].clone();
            return String::new();
        }
        if let Some(folder) = command.strip_prefix("cd ") {
            self.folder = self.folder.join(folder);
            return String::new();
        }
        if command.starts_with("export PATH=") || command.starts_with("tidegate serve --data /tmp/tidegate &") {
            // Both are so from the beginning.
            return String::new();
        }
        let filled = self.filled(command);
        let path = format!("{}:{}", program().parent().unwrap().display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &filled])
            .current_dir(&self.folder)
            .env("PATH", path)
            .env("XDG_CONFIG_HOME", self.home.path().join("config"))
            .env("TIDEGATE_TRACKING", format!("http://{}", self.host.listen))
            .stdin(Stdio::null());
        // Who names a profile has exported nothing.
        if !command.contains("profile") {
            shell.env("TIDEGATE_SERVER", format!("http://{}", self.host.admin)).env("TIDEGATE_TOKEN", &self.token);
        }
        let output = shell.output().unwrap();
        let (printed, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
        println!("$ {filled}\n{printed}{said}");
        assert!(output.status.success(), "{command}\n{printed}{said}");
        self.remember(command, &printed);
        printed
    }

    fn remember(&mut self, command: &str, printed: &str) {
        for word in printed.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-') {
            if let Some((prefix, _)) = word.split_once('_').filter(|(_, rest)| rest.len() >= 32) {
                self.ids.insert(prefix.to_owned(), word.to_owned());
            }
            if word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                self.public_key = word.to_owned();
            }
        }
        let line = printed.lines().find_map(|line| line.strip_prefix("write_key"));
        self.write_key = line.map_or(self.write_key.clone(), |key| key.trim().to_owned());
        for (role, whose) in [("partner-admin", "partner"), ("workspace-admin", "customer")] {
            if command.contains(role) {
                self.tokens.insert(whose, self.ids["tgk"].clone());
            }
        }
    }

    /// An event of the customer's, and what is owed delivered or given up.
    async fn event_arrives(&self) {
        let event = json!({"writeKey": self.write_key, "event": "Order Completed", "userId": "ada"});
        let kind = [("content-type", "application/json")];
        let sent = http::send(self.host.listen, "POST", "/v1/track", &kind, event.to_string().into_bytes()).await;
        assert_eq!(sent.status, 200);
        self.host.drained().await;
    }

    /// Runs a walk; what each of its commands printed, without the page's remarks.
    async fn walk(&mut self, heading: &str, commands: &[String]) -> BTreeMap<String, String> {
        println!("\n## {heading}");
        let mut said = BTreeMap::new();
        for command in commands {
            // A delivery is made behind the answer that took the event, and customers' events go on while a partner releases.
            if command.starts_with("tidegate delivery list") {
                self.host.drained().await;
            }
            if command.starts_with("tidegate function logs") {
                self.event_arrives().await;
            }
            said.insert(command.split(" #").next().unwrap().trim().to_owned(), self.run(command));
        }
        said
    }
}

fn said<'a>(all: &'a BTreeMap<String, String>, command: &str) -> &'a str {
    all.get(command).unwrap_or_else(|| panic!("the page has no `{command}`, but {:?}", all.keys()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_walks_of_the_front_page_work_as_they_stand_there() {
    let partner = Partner::repeating(|request| {
        let status = if request.path == "/events" { 200 } else { 404 };
        (status, Vec::new(), "{}".to_owned())
    })
    .await;
    let mut walk = Walk::start(partner);
    let walks = walks("One host for operators, partners and customers");
    assert_eq!(walks.len(), 8, "{walks:?}");
    let mut all = BTreeMap::new();
    for (heading, commands) in &walks[..5] {
        all.extend(walk.walk(heading, commands).await);
    }
    assert!(said(&all, "tidegate function check .").contains("It never sees your “API key”"));
    assert!(!said(&all, "tidegate function push .").contains("FAILED"), "{}", said(&all, "tidegate function push ."));
    assert!(!said(&all, "tidegate function checklist orders").contains("MISSING"));
    assert!(said(&all, "tidegate review show rev_…").contains("Brings orders to our API"));
    assert!(said(&all, "tidegate function list").contains("orders"));
    let shown = said(&all, "tidegate function show orders");
    assert!(shown.contains("It sends to"), "{shown}");
    assert!(said(&all, "tidegate delivery list").contains("delivered"));
    assert!(said(&all, "tidegate delivery show dlv_…").contains("/events"));
    assert!(said(&all, "tidegate function logs orders --version 0.2.0").contains("404"));

    // What the bad version lost is dead, and what comes after going back is delivered again.
    walk.event_arrives().await;
    let ledger = walk.host.api("GET", "/api/v1/ledger", Value::Null).await;
    assert_eq!((&ledger["delivered"], &ledger["dead"]), (&json!(2), &json!(1)), "{ledger}");
    let paths: Vec<_> = walk.partner.received.lock().unwrap().iter().map(|request| request.path.clone()).collect();
    assert_eq!(paths, ["/events", "/evnets", "/events"]);

    let mut all = BTreeMap::new();
    for (heading, commands) in &walks[5..] {
        all.extend(walk.walk(heading, commands).await);
    }
    assert!(said(&all, "tidegate destination create Mail --function orders --dry-run").contains("It sends to"));
    assert!(said(&all, "tidegate link open tgl_…").contains("tgk_"));
    assert!(said(&all, "tidegate function script orders").contains("/events"));
    assert!(said(&all, "tidegate function push . --sign-key key.pem").contains("pushed orders 0.3.0"));
    let again = Host::start(&walk.home.path().join("again"), walk.partner.address, Some(&walk.host.token));
    assert_eq!(again.ledger().await["dead"], 1, "the restored host has what there was");
    assert_eq!(walk.host.try_api("GET", "/api/v1/workspaces/acme", Value::Null).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_front_page_does_by_hand_works_as_it_stands_there() {
    let status = Arc::new(AtomicU16::new(200));
    let answers = Arc::clone(&status);
    let partner = Partner::repeating(move |_| (answers.load(Ordering::Relaxed), Vec::new(), "{}".to_owned())).await;
    let mut walk = Walk::start(partner);
    std::fs::create_dir_all(walk.home.path().join("target/debug")).unwrap();
    symlink(functions(), walk.home.path().join("target/debug/functions")).unwrap();
    std::fs::write(walk.home.path().join("token.txt"), format!("{}\n", walk.host.token)).unwrap();
    let walks = walks("By hand");
    assert_eq!(walks.len(), 3, "{walks:?}");
    let all = walk.walk("By hand", &walks[0].1).await;
    assert!(said(&all, "tidegate delivery list").contains("delivered"));
    assert!(said(&all, "tidegate ledger").contains("accepted"));
    status.store(401, Ordering::Relaxed);
    for _ in 0..2 {
        walk.event_arrives().await;
    }
    status.store(200, Ordering::Relaxed);
    walk.walk("what was given up", &walks[1].1).await;
    let ledger = walk.host.drained().await;
    assert_eq!((&ledger["delivered"], &ledger["dead"]), (&json!(3), &json!(0)), "{ledger}");
    let last = walk.partner.received.lock().unwrap().last().map(|request| request.path.clone());
    assert_eq!(last.as_deref(), Some("/v2"));
    let all = walk.walk("logging in", &walks[2].1).await;
    assert!(said(&all, "tidegate --profile work key whoami").contains("operator"));
    assert!(all.values().all(|printed| !printed.contains(&walk.host.token)), "a token was shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_is_written_as_the_front_page_says() {
    let mut walk = Walk::start(Partner::start().await);
    let script = page().split("```js\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap().to_owned();
    std::fs::write(walk.home.path().join("handler.js"), script).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    symlink(root.join("functions"), walk.home.path().join("functions")).unwrap();
    let walks = walks("Write a function");
    let [(heading, commands)] = &walks[..] else { panic!("{walks:?}") };
    let all = walk.walk(heading, commands).await;
    let ran = all.iter().find(|(command, _)| command.starts_with("tidegate function run")).unwrap().1;
    let report: Value = serde_json::from_str(ran).unwrap();
    assert_eq!(report["outcome"]["code"], "delivered", "{report}");
    assert!(walk.home.path().join("slack.wasm").is_file());
    assert!(said(&all, "tidegate function push functions/slack").contains("pushed slack"));
}
