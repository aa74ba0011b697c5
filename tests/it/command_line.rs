//! The command line's own: profiles, hosts behind TLS, progress, and hints that hold.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

use crate::egress::authorities::Authority;
use crate::host::{Host, function, program};
use crate::http::Partner;

/// A user's machine: a home of their own, and nothing exported.
struct User {
    home: TempDir,
}

impl User {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    /// Runs a command with these variables and this standard input.
    fn run(&self, args: &[&str], variables: &[(&str, &str)], input: &str) -> Output {
        let mut command = Command::new(program());
        for name in ["SERVER", "TOKEN", "PROFILE", "CA", "WORKSPACE", "PARTNER"] {
            command.env_remove(format!("TIDEGATE_{name}"));
        }
        command.args(args).env("XDG_CONFIG_HOME", self.home.path()).envs(variables.iter().copied());
        command.current_dir(self.home.path());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn say(&self, args: &[&str]) -> Output {
        self.run(args, &[], "")
    }

    fn file(&self) -> std::path::PathBuf {
        self.home.path().join("tidegate/profiles.toml")
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn good(output: Output) -> Output {
    assert!(output.status.success(), "{output:?}");
    output
}

fn json_of(output: Output) -> Value {
    serde_json::from_slice(&good(output).stdout).unwrap()
}

/// It failed with this code, and said all of this.
fn refused(output: &Output, code: i32, words: &[&str]) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    for word in words {
        assert!(text(output).contains(word), "no `{word}` in {output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_keeps_a_token_that_was_tried_and_shows_it_nowhere() {
    let (partner, data, user) = (Partner::start().await, tempfile::tempdir().unwrap(), User::new());
    let host = Host::start(data.path(), partner.address, None);
    let api = format!("http://{}", host.admin);
    refused(&user.say(&["key", "whoami", "--server", &api]), 3, &["tidegate login", "TIDEGATE_TOKEN"]);
    for (input, code, word) in
        [("tgk_wrong\n", 3, "not known here"), ("\n", 2, "it is empty"), ("a b\n", 2, "no token")]
    {
        let tried = user.run(&["login", "--api", &api], &[], input);
        refused(&tried, code, &[word]);
        assert!(!user.file().exists(), "nothing is stored");
    }
    let login = good(user.run(&["login", "--api", &api], &[], &format!("{}\n", host.token)));
    let mode = std::fs::metadata(user.file()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let viewer = host.api("POST", "/api/v1/keys", json!({"name": "v", "role": "workspace-viewer"})).await;
    let other = viewer["token"].as_str().unwrap();
    let second = good(user.run(&["login", "--profile", "viewer", "--api", &api], &[], other));

    let role = |args: &[&str], variables: &[(&str, &str)]| {
        json_of(user.run(&[&["--output", "json"], args].concat(), variables, ""))["role"].clone()
    };
    assert_eq!(role(&["key", "whoami"], &[]), "workspace-viewer", "what one logged in to last");
    assert_eq!(role(&["--profile", "default", "key", "whoami"], &[]), "operator");
    assert_eq!(role(&["key", "whoami", "--profile", "default"], &[]), "operator");
    assert_eq!(role(&["key", "whoami"], &[("TIDEGATE_PROFILE", "default")]), "operator");
    assert_eq!(role(&["key", "whoami"], &[("TIDEGATE_TOKEN", &host.token)]), "operator", "the environment first");
    let both = [("TIDEGATE_TOKEN", host.token.as_str()), ("TIDEGATE_PROFILE", "default")];
    assert_eq!(role(&["key", "whoami", "--token", other], &both), "workspace-viewer", "flags before all");
    assert_eq!(role(&["key", "whoami", "--profile", "viewer"], &both), "workspace-viewer");
    refused(&user.say(&["key", "whoami", "--profile", "nobody"]), 2, &["nobody", "`default`, `viewer`"]);

    let list = good(user.say(&["profile", "list"]));
    let used = good(user.say(&["profile", "use", "default"]));
    let shown = good(user.say(&["--output", "json", "profile", "show"]));
    assert_eq!(role(&["key", "whoami"], &[]), "operator");
    assert_eq!(role(&["profile", "show"], &[]), "operator");
    for output in [&login, &second, &list, &used, &shown] {
        let printed = text(output);
        assert!(!printed.contains(&host.token) && !printed.contains(other), "{printed}");
    }
    assert!(text(&list).contains("default") && text(&list).contains("viewer"), "{}", text(&list));

    std::fs::set_permissions(user.file(), std::fs::Permissions::from_mode(0o644)).unwrap();
    refused(&user.say(&["key", "whoami"]), 1, &["chmod 600", "644"]);
    std::fs::set_permissions(user.file(), std::fs::Permissions::from_mode(0o600)).unwrap();
    good(user.say(&["logout"]));
    let kept = std::fs::read_to_string(user.file()).unwrap();
    assert!(!kept.contains(&host.token) && kept.contains(other), "only one of them is forgotten");
    refused(&user.say(&["key", "whoami", "--server", &api]), 3, &["tidegate login"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profiles_token_goes_to_its_own_host_only() {
    let (partner, data, user) = (Partner::start().await, tempfile::tempdir().unwrap(), User::new());
    let host = Host::start(data.path(), partner.address, None);
    let api = format!("http://{}", host.admin);
    good(user.run(&["login", "--api", &api], &[], &host.token));
    let stranger = Partner::answering(|_| (401, vec![])).await;
    let asked = user.run(&["source", "list"], &[("TIDEGATE_SERVER", &stranger.url())], "");
    assert!(!asked.status.success());
    let received = stranger.received.lock().unwrap();
    assert_eq!(received.len(), 1);
    assert!(!received[0].headers.contains_key("authorization"), "{:?}", received[0].headers);
}

/// A host's control API behind TLS, with a certificate for `localhost`: where it is asked.
async fn behind_tls(host: &Host, authority: &Authority) -> u16 {
    let acceptor = authority.acceptor(&["localhost"], |_| {});
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, admin) = (listener.local_addr().unwrap().port(), host.admin);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut outside) = acceptor.accept(stream).await else { return };
                let mut inside = TcpStream::connect(admin).await.unwrap();
                // Either side may go when it has what it wanted.
                drop(tokio::io::copy_bidirectional(&mut outside, &mut inside).await);
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_behind_tls_is_asked_if_somebody_trusted_vouches_for_it() {
    let (partner, data, user) = (Partner::start().await, tempfile::tempdir().unwrap(), User::new());
    let host = Host::start(data.path(), partner.address, None);
    let authority = Authority::new();
    let port = behind_tls(&host, &authority).await;
    let ca = authority.file();
    let (ca, api) = (ca.to_str().unwrap(), format!("https://localhost:{port}"));
    let token = host.token.as_str();
    let ask = |args: &[&str], variables: &[(&str, &str)]| {
        let variables = [&[("TIDEGATE_TOKEN", token)], variables].concat();
        user.run(&[&["--output", "json", "key", "whoami"], args].concat(), &variables, "")
    };
    assert_eq!(json_of(ask(&["--server", &api, "--ca", ca], &[]))["role"], "operator");
    assert_eq!(json_of(ask(&[], &[("TIDEGATE_SERVER", &api), ("TIDEGATE_CA", ca)]))["role"], "operator");
    refused(&ask(&["--server", &api], &[]), 1, &["certificate", "--ca FILE"]);
    let stranger = Authority::new();
    refused(&ask(&["--server", &api, "--ca", stranger.file().to_str().unwrap()], &[]), 1, &["--ca FILE"]);
    // Right authority, wrong name.
    let by_address = format!("https://127.0.0.1:{port}");
    refused(&ask(&["--server", &by_address, "--ca", ca], &[]), 1, &["name the host as its certificate does"]);
    // No TLS there.
    let plain = format!("https://{}", host.admin);
    refused(&ask(&["--server", &plain, "--ca", ca], &[]), 1, &["the right one of http and https"]);
    refused(&ask(&["--server", &api, "--ca", "no-such.pem"], &[]), 2, &["no-such.pem", "--ca"]);
    refused(&ask(&["--server", "localhost:1"], &[]), 2, &["`localhost:1`", "https://"]);

    // A profile remembers the authority, also from another folder.
    std::fs::copy(ca, user.home.path().join("own.pem")).unwrap();
    good(user.run(&["login", "--api", &api, "--ca", "own.pem"], &[], token));
    let mut elsewhere = Command::new(program());
    elsewhere.args(["--output", "json", "key", "whoami"]).env("XDG_CONFIG_HOME", user.home.path()).current_dir("/");
    assert_eq!(json_of(elsewhere.output().unwrap())["role"], "operator");
    // Events go by TLS too; this one is not the tracking API, which it says.
    std::fs::write(user.home.path().join("e.json"), r#"{"type":"track","event":"E","userId":"u"}"#).unwrap();
    let sent = user.run(&["event", "send", "--write-key", "k", "--to", &api, "--ca", ca, "e.json"], &[], "");
    refused(&sent, 1, &["no path of the control API"]);
}

/// Runs a command at a terminal; everything that a person saw.
fn at_a_terminal(line: &str, host: &Host, folder: &Path) -> String {
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", line, "/dev/null"]).current_dir(folder).stdin(Stdio::null());
    script.env("TIDEGATE_SERVER", format!("http://{}", host.admin)).env("TIDEGATE_TOKEN", &host.token);
    script.env("TERM", "xterm").env("COLUMNS", "200");
    let output = script.output().expect("`script` of util-linux runs");
    assert!(output.status.success(), "{output:?}");
    text(&output)
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_shown_to_people_at_a_terminal_and_to_nobody_else() {
    let (partner, data, home) = (Partner::start().await, tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let host = Host::start(data.path(), partner.address, None);
    std::fs::write(home.path().join("hello.js"), "async function onTrack() {}").unwrap();
    let (program, webhook) = (program().display().to_string(), function("webhook").display().to_string());
    let seen = at_a_terminal(&format!("{program} function push {webhook}"), &host, home.path());
    assert!(seen.contains("the host builds and checks it") && seen.contains("pushed webhook"), "{seen}");
    let seen = at_a_terminal(&format!("{program} function build hello.js"), &host, home.path());
    assert!(seen.contains("building hello.js"), "{seen}");
    let backup = format!("{program} backup copy --data {}", data.path().display());
    let seen = at_a_terminal(&backup, &host, home.path());
    assert!(seen.contains("copying") && seen.contains("folder"), "{seen}");
    let seen = at_a_terminal(&format!("{program} restore copy --data again"), &host, home.path());
    assert!(seen.contains("copying"), "{seen}");

    // Programs get data and nothing else, also at a terminal.
    let seen = at_a_terminal(&format!("{program} --output json function push {webhook}"), &host, home.path());
    assert!(serde_json::from_str::<Value>(&seen).is_ok(), "{seen}");
    let user = User::new();
    let variables = [("TIDEGATE_SERVER", format!("http://{}", host.admin)), ("TIDEGATE_TOKEN", host.token.clone())];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let pushed = good(user.run(&["function", "push", &webhook], &variables, ""));
    assert!(!text(&pushed).contains('\u{1b}') && !text(&pushed).contains("uploading"), "{pushed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_name_what_the_command_at_hand_has() {
    let (partner, data, user) = (Partner::start().await, tempfile::tempdir().unwrap(), User::new());
    let host = Host::start(data.path(), partner.address, None);
    let api = format!("http://{}", host.admin);
    let opened = user.run(&["link", "open", "tgl_wrong", "--server", &api], &[], "");
    refused(&opened, 3, &["unknown_link"]);
    assert!(!text(&opened).contains("TOKEN") && !text(&opened).contains("login"), "a link takes no key: {opened:?}");
    let operator = [("TIDEGATE_SERVER", api.as_str()), ("TIDEGATE_TOKEN", host.token.as_str())];
    let nobody = user.run(&["event", "send", "--write-key", "k", "--to", "http://127.0.0.1:1", "-"], &[], "{}");
    refused(&nobody, 1, &["--to"]);
    good(user.run(&["function", "push", function("webhook").to_str().unwrap()], &operator, ""));
    let unknown = ["function", "show", "webhook", "--version", &format!("ver_{}", "0".repeat(32))];
    refused(&user.run(&unknown, &operator, ""), 1, &["tidegate function versions webhook"]);

    // A key belongs where its role is; what the environment names is for all commands.
    let create =
        |role: &str, flag: &str| user.run(&["key", "create", "k", "--role", role, flag, "other"], &operator, "");
    refused(&create("workspace-admin", "--partner"), 2, &["`--partner other`", "`workspace-admin`", "--workspace"]);
    refused(
        &create("partner-developer", "--workspace"),
        2,
        &["`--workspace other`", "`partner-developer`", "--partner"],
    );
    refused(&create("operator", "--workspace"), 2, &["`--workspace other`", "the host"]);
    refused(&create("operator", "--partner"), 2, &["`--partner other`", "the host"]);
    let elsewhere = [operator[0], operator[1], ("TIDEGATE_PARTNER", "default")];
    good(user.run(&["key", "create", "k", "--role", "workspace-admin"], &elsewhere, ""));

    // What is gone is said in words.
    good(user.run(&["suppression", "add", "bob"], &operator, ""));
    let gone = good(user.run(&["suppression", "remove", "bob"], &operator, ""));
    assert!(gone.stdout.is_empty() && text(&gone).contains("bob"), "{gone:?}");

    // Nothing to agree to is said.
    let made =
        ["--output", "json", "destination", "create", "D", "--function", "webhook", "--set", "url=https://a.example"];
    let made = json_of(user.run(&made, &operator, ""));
    let consent = good(user.run(&["destination", "consent", made["id"].as_str().unwrap()], &operator, ""));
    assert!(text(&consent).contains("nothing to agree to"), "{consent:?}");

    // The configuration in both forms.
    let shown = json_of(user.say(&["--output", "json", "config", "show"]));
    assert!(shown["listen"].is_string(), "{shown}");
    assert_eq!(json_of(user.say(&["--output", "json", "config", "check"])), json!({"good": true}));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_key_of_an_admin_is_taken_back_only_by_force() {
    let (partner, data, user) = (Partner::start().await, tempfile::tempdir().unwrap(), User::new());
    let host = Host::start(data.path(), partner.address, None);
    let api = format!("http://{}", host.admin);
    let admin = host.api("POST", "/api/v1/keys", json!({"name": "a", "role": "workspace-admin"})).await;
    let run = |token: &str, args: &[&str]| user.run(args, &[("TIDEGATE_SERVER", &api), ("TIDEGATE_TOKEN", token)], "");
    let (id, token) = (admin["id"].as_str().unwrap(), admin["token"].as_str().unwrap());
    refused(&run(token, &["key", "revoke", id]), 1, &["last key of its kind (workspace-admin)", "--force"]);
    let second = host.api("POST", "/api/v1/keys", json!({"name": "b", "role": "workspace-admin"})).await;
    good(run(token, &["key", "revoke", second["id"].as_str().unwrap()]));
    good(run(token, &["key", "revoke", id, "--force"]));
    assert_eq!(run(token, &["key", "whoami"]).status.code(), Some(3));
    // An operator can make another one, and locks nobody out.
    let third = host.api("POST", "/api/v1/keys", json!({"name": "c", "role": "workspace-admin"})).await;
    good(run(&host.token, &["key", "revoke", third["id"].as_str().unwrap()]));
    let own = host.api("GET", "/api/v1/whoami", Value::Null).await;
    let own = own["key"].as_str().unwrap();
    refused(&run(&host.token, &["key", "revoke", own]), 1, &["(operator)", "tidegate key recover"]);
    good(run(&host.token, &["key", "revoke", own, "--force"]));
    assert_eq!(host.try_api("GET", "/api/v1/whoami", Value::Null).await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_slips_is_told_which_value_was_wrong_and_what_helps() {
    let (partner, data, user) = (Partner::start().await, tempfile::tempdir().unwrap(), User::new());
    let host = Host::start(data.path(), partner.address, None);
    let server = format!("http://{}", host.admin);
    let variables = [("TIDEGATE_SERVER", server.as_str()), ("TIDEGATE_TOKEN", host.token.as_str())];
    good(user.run(&["workspace", "create", "acme"], &variables, ""));
    let destination = format!("dst_{}", "0".repeat(32));
    let slips: &[(&[&str], &str, &[&str])] = &[
        (&["workspace", "destroy", "acme", "--confirm", "amce"], "", &["`amce`", "`acme`", "nothing was destroyed"]),
        (&["destination", "pause", "Orders"], "", &["`Orders`", "`dst_`", "`tidegate destination list`"]),
        (
            &["connection", "create", "--source", "shop", "--destination", &destination],
            "",
            &["`shop`", "`src_`", "`tidegate source list`"],
        ),
        (&["destination", "update", &destination], "", &[&destination, "nothing", "--set name=value"]),
        (&["event", "send", "--write-key", "k", "-"], "{", &["standard input", "not JSON"]),
        (&["event", "send", "--write-key", "k", "-"], "3", &["standard input", "an event", "3"]),
        (&["event", "send", "--write-key", "k", "event.json"], "", &["`event.json`", "cannot be read"]),
        (
            &["destination", "create", "Orders", "--function", "none", "--settings", "-"],
            "[1]",
            &["standard input", "not a JSON object"],
        ),
    ];
    for (args, input, named) in slips {
        let output = user.run(args, &variables, input);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{args:?}: {said}");
        for part in *named {
            assert!(said.contains(part), "{args:?}: no {part} in: {said}");
        }
    }
}
