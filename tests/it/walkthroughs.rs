//! The walks of the front page, run as they stand there: every command of each, in order, by a shell.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::host::{Host, program};
use crate::http::{self, Partner};

/// A walk has fewer commands than this.
const MOST: usize = 10;

/// The part of the front page that is walked.
const CHAPTER: &str = "## One host for operators, partners and customers";

/// What a new user who reads the page would have at hand.
struct Walk {
    host: Host,
    partner: Partner,
    folder: PathBuf,
    /// Tokens by whose they are: `operator`, `partner`, `customer`.
    tokens: BTreeMap<&'static str, String>,
    token: String,
    /// The newest id of each kind that was printed, by what it begins with.
    ids: BTreeMap<String, String>,
    write_key: String,
}

/// The walks: each its heading and its commands.
fn walks() -> Vec<(String, Vec<String>)> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let chapter = page.split(CHAPTER).nth(1).expect("the chapter").split("\n## ").next().unwrap();
    let walks = chapter.split("\n### ").skip(1).map(|walk| {
        let heading = walk.lines().next().unwrap().to_owned();
        let block = walk.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next());
        let commands = block.unwrap_or_default().lines().filter(|line| !line.trim().is_empty());
        (heading, commands.map(str::to_owned).collect())
    });
    walks.filter(|(heading, _)| heading != "And beside that").collect()
}

impl Walk {
    /// A command with what was printed before in the places that the page leaves open.
    fn filled(&self, command: &str) -> String {
        let mut filled = command.replace("https://your.api", &self.partner.url());
        filled = filled.replace("--write-key …", &format!("--write-key {}", self.write_key));
        for (prefix, id) in &self.ids {
            filled = filled.replace(&format!("{prefix}_…"), id);
        }
        assert!(!filled.split(" #").next().unwrap().contains('…'), "nothing printed what `{command}` needs");
        filled
    }

    /// Runs a command as the page says; what it printed.
    fn run(&mut self, command: &str) -> String {
        if command.starts_with("export TIDEGATE_TOKEN=") {
            let whose = ["operator", "partner", "customer"].into_iter().find(|whose| command.contains(whose)).unwrap();
            self.token = self.tokens[whose].clone();
            return String::new();
        }
        if let Some(folder) = command.strip_prefix("cd ") {
            self.folder = self.folder.join(folder);
            return String::new();
        }
        let filled = self.filled(command);
        let path = format!("{}:{}", program().parent().unwrap().display(), std::env::var("PATH").unwrap());
        let output = Command::new("sh")
            .args(["-c", &filled])
            .current_dir(&self.folder)
            .env("PATH", path)
            .env("TIDEGATE_SERVER", format!("http://{}", self.host.admin))
            .env("TIDEGATE_TRACKING", format!("http://{}", self.host.listen))
            .env("TIDEGATE_TOKEN", &self.token)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let (printed, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
        println!("$ {filled}\n{printed}{said}");
        assert!(output.status.success(), "{command}\n{printed}{said}");
        self.remember(command, &printed);
        printed
    }

    fn remember(&mut self, command: &str, printed: &str) {
        for word in printed.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if let Some((prefix, _)) = word.split_once('_').filter(|(_, rest)| rest.len() >= 32) {
                self.ids.insert(prefix.to_owned(), word.to_owned());
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
}

#[tokio::test(flavor = "multi_thread")]
async fn the_walks_of_the_front_page_work_as_they_stand_there() {
    let partner = Partner::repeating(|request| {
        let status = if request.path == "/events" { 200 } else { 404 };
        (status, Vec::new(), "{}".to_owned())
    })
    .await;
    let (data, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let host = Host::start(data.path(), partner.address, None);
    let tokens = BTreeMap::from([("operator", host.token.clone())]);
    let (token, folder) = (host.token.clone(), home.path().to_owned());
    let (ids, write_key) = (BTreeMap::new(), String::new());
    let mut walk = Walk { host, partner, folder, tokens, token, ids, write_key };
    let walks = walks();
    assert_eq!(walks.len(), 5, "{walks:?}");
    let mut said = BTreeMap::new();
    for (heading, commands) in &walks {
        assert!((2..MOST).contains(&commands.len()), "{heading} has {} commands", commands.len());
        println!("\n## {heading}");
        for command in commands {
            // A delivery is made behind the answer that took the event, and customers' events go on while a partner releases.
            if command.starts_with("tidegate delivery list") {
                walk.host.drained().await;
            }
            if command.starts_with("tidegate function logs") {
                walk.event_arrives().await;
            }
            said.insert(command.split(" #").next().unwrap().trim().to_owned(), walk.run(command));
        }
    }
    let said = |command: &str| said.get(command).unwrap_or_else(|| panic!("the page has no `{command}`"));
    assert!(said("tidegate function check .").contains("It never sees your “API key”"));
    assert!(!said("tidegate function push .").contains("FAILED"), "{}", said("tidegate function push ."));
    assert!(!said("tidegate function checklist orders").contains("MISSING"));
    assert!(said("tidegate review show rev_…").contains("Brings orders to our API"));
    assert!(said("tidegate function list").contains("orders"));
    assert!(said("tidegate function show orders").contains("It sends to"), "{}", said("tidegate function show orders"));
    assert!(said("tidegate delivery list").contains("delivered"));
    assert!(said("tidegate delivery show dlv_…").contains("/events"));
    assert!(said("tidegate function logs orders --version 0.2.0").contains("404"));

    // What the bad version lost is dead, and what comes after going back is delivered again.
    walk.event_arrives().await;
    let ledger = walk.host.api("GET", "/api/v1/ledger", Value::Null).await;
    assert_eq!((&ledger["delivered"], &ledger["dead"]), (&json!(2), &json!(1)), "{ledger}");
    let paths: Vec<_> = walk.partner.received.lock().unwrap().iter().map(|request| request.path.clone()).collect();
    assert_eq!(paths, ["/events", "/evnets", "/events"]);
}
