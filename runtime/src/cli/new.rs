//! `tidegate function new`: a folder with a function that builds and passes its cases, to begin from.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::json;

use super::Exit;
use super::print::{self, Format};
use crate::catalog::bundle::ESBUILD;
use crate::catalog::manifest;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The function's name: lower-case letters, digits and hyphens. A path makes the folder there, and its last part is the
    /// name.
    name: PathBuf,
    /// What to write it in.
    #[arg(long, value_enum, default_value_t)]
    lang: Language,
    /// For Rust: the folder of Tidegate's `guest-sdk` [default: that of the checkout this program was built in].
    #[arg(long, value_name = "DIR", env = "TIDEGATE_SDK")]
    sdk: Option<PathBuf>,
}

/// What functions are written in.
#[derive(Clone, Copy, Default, clap::ValueEnum)]
pub(super) enum Language {
    /// JavaScript, in one file.
    #[default]
    Js,
    /// TypeScript, with a package.json for what npm has.
    Ts,
    /// Rust.
    Rust,
    /// Python, built by componentize-py.
    Python,
}

/// A file of a template: its path and its text, with `{{…}}` for what differs.
type File = (&'static str, &'static str);

macro_rules! files {
    ($folder:literal: $($name:literal),+) => {
        &[$(($name, include_str!(concat!("../../templates/", $folder, "/", $name)))),+]
    };
}

const CASES: &[File] = files!("cases": "track.json", "identify.json", "throttled.json", "unreachable.json", "refused-key.json", "refused-event.json");
const README: &str = include_str!("../../templates/README.md");
const MANIFEST: &str = include_str!("../../templates/function.toml");
const SETTINGS: &str = include_str!("../../templates/settings.toml");

/// The types of what a function finds, so that an editor and `tsc` know them without a network.
const TYPES: &str = include_str!("../../../guest-sdk/js/index.d.ts");

/// What is different from language to language.
struct Template {
    language: &'static str,
    code: &'static str,
    files: &'static [File],
    ignored: &'static str,
    more: &'static str,
    endings: &'static str,
}

const THROWN: &str = "| it returns | delivered |
| `RetryError` | it comes again, for four hours, after growing waits |
| `ValidationError` | dead: it can never be accepted |
| `InvalidSettings` | dead: the customer has something to repair |
| `EventNotSupported`, or no handler | filtered |
| anything else that is thrown | dead, with file, line and column |";

const ANSWERED: &str = "| `Answer_Delivered` | delivered |
| `Answer_Retry` | it comes again, for four hours, after growing waits |
| `Answer_Rejected` | dead: it can never be accepted |
| `Answer_InvalidSettings` | dead: the customer has something to repair |
| `Answer_Unsupported` | filtered |
| `Answer_Failed`, or an exception that nobody catches | dead; the traceback is in the log |";

const RETURNED: &str = "| `Ok` | delivered |
| `Error::Retry` | it comes again, for four hours, after growing waits |
| `Error::Rejected` | dead: it can never be accepted |
| `Error::InvalidSettings` | dead: the customer has something to repair |
| `Error::Unsupported`, or no method | filtered |
| `Error::Failed`, or a panic | dead |";

impl Language {
    fn template(self) -> Template {
        match self {
            Self::Js => Template {
                language: "JavaScript",
                code: "handler.js",
                files: files!("js": "handler.js"),
                ignored: "*.wasm\n",
                more: "",
                endings: THROWN,
            },
            Self::Ts => Template {
                language: "TypeScript",
                code: "handler.ts",
                files: files!("ts": "handler.ts", "package.json", "tsconfig.json"),
                ignored: "node_modules/\n*.wasm\n",
                more: "`handler.ts` alone is built without Node. Once it imports something, `npm install` brings the bundler that \
                       puts it all\ninto one, and the compiler that checks types: `npm run types`. `tidegate.d.ts` has the types \
                       of what a function finds.\n\n",
                endings: THROWN,
            },
            Self::Rust => Template {
                language: "Rust",
                code: "src/lib.rs",
                files: files!("rust": "Cargo.toml", "src/lib.rs"),
                ignored: "/target\n*.wasm\n",
                more: "It takes `rustup target add wasm32-unknown-unknown`. The settings in the manifest are made of the type in \
                       `src/lib.rs`.\n\n",
                endings: RETURNED,
            },
            Self::Python => Template {
                language: "Python",
                code: "handler.py",
                files: files!("python": "handler.py", "requirements.txt"),
                ignored: ".venv/\n__pycache__/\n*.wasm\n",
                more: "It is built by componentize-py, in some ten seconds: `python3 -m venv .venv`, then `.venv/bin/pip install\n\
                       --require-hashes -r requirements.txt`. What else is installed there can be imported, if it is Python alone.\n\n",
                endings: ANSWERED,
            },
        }
    }
}

pub(super) fn run(args: &Args, format: Format) -> anyhow::Result<u8> {
    let name = args.name.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let files = files(&name, args.lang, args.sdk.as_deref())?;
    let is_free = fs::read_dir(&args.name).map_or(!args.name.exists(), |mut entries| entries.next().is_none());
    ensure!(is_free, "`{}` is there already: take another name, or an empty folder", args.name.display());
    for (path, text) in &files {
        let path = args.name.join(path);
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, text));
        written.with_context(|| format!("`{}` cannot be written", path.display()))?;
    }
    let paths: Vec<&str> = files.iter().map(|(path, _)| &**path).collect();
    print::one(format, &json!({"folder": args.name.display().to_string(), "files": paths.join(" ")}));
    eprintln!("next: tidegate function test {} --watch", args.name.display());
    Ok(0)
}

/// Every file of a new function, by its path in the folder.
fn files(name: &str, language: Language, sdk: Option<&Path>) -> anyhow::Result<Vec<(String, String)>> {
    let Template { language: called, code, files, ignored, more, endings } = language.template();
    let typed = matches!(language, Language::Ts);
    let rust = matches!(language, Language::Rust);
    let sdk = if rust { sdk_folder(sdk)? } else { String::new() };
    // Cargo takes no package whose name begins with a digit.
    if rust && name.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(
            Exit::Misuse(format!("`{name}` is no name for a package of Rust: let it begin with a letter")).into()
        );
    }
    let manifest = if rust { MANIFEST.to_owned() } else { format!("{MANIFEST}{SETTINGS}") };
    let values = [
        ("name", name),
        ("language", called),
        ("code", code),
        ("more", more),
        ("endings", endings),
        ("sdk", &sdk),
        ("esbuild", ESBUILD),
    ];
    let filled = |text: &str| {
        values.iter().fold(text.to_owned(), |text, (key, value)| text.replace(&format!("{{{{{key}}}}}"), value))
    };
    if let Err(error) = manifest::parse(&filled(&manifest)) {
        return Err(Exit::Misuse(error.to_string()).into());
    }
    let mut all = vec![
        ("README.md".to_owned(), filled(README)),
        ("function.toml".to_owned(), filled(&manifest)),
        (".gitignore".to_owned(), ignored.to_owned()),
    ];
    all.extend(files.iter().map(|(path, text)| ((*path).to_owned(), filled(text))));
    if typed {
        all.push(("tidegate.d.ts".to_owned(), TYPES.to_owned()));
    }
    all.extend(CASES.iter().map(|(path, text)| (format!("cases/{path}"), (*text).to_owned())));
    Ok(all)
}

/// The SDK's folder, as it can stand in a `Cargo.toml` anywhere on this machine.
fn sdk_folder(given: Option<&Path>) -> anyhow::Result<String> {
    let own = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-sdk"));
    let folder = given.unwrap_or(own);
    let is_sdk = folder.join("Cargo.toml").is_file();
    let found = fs::canonicalize(folder).ok().filter(|_| is_sdk);
    let found = found.with_context(|| {
        format!(
            "`{}` is not the SDK: name the folder `guest-sdk` of a checkout of Tidegate with --sdk",
            folder.display()
        )
    })?;
    Ok(found.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_to_fill_in() {
        for language in [Language::Js, Language::Ts, Language::Rust, Language::Python] {
            for (path, text) in files("my-function", language, None).unwrap() {
                assert!(!text.contains("{{") && text.ends_with('\n'), "{path}: {text}");
            }
        }
    }

    #[test]
    fn the_toolchain_of_a_new_function_in_python_is_the_one_that_functions_are_tried_with() {
        let tried = include_str!("../../../functions/webhook-python/requirements.txt");
        let new = files("my-function", Language::Python, None).unwrap();
        assert!(new.iter().any(|(path, text)| path == "requirements.txt" && text == tried));
    }

    #[test]
    fn a_name_that_no_function_can_have_is_refused() {
        for name in ["", "My", "a b", "-a", "ü"] {
            assert!(files(name, Language::Js, None).is_err(), "{name}");
        }
        assert!(files("1st", Language::Js, None).is_ok() && files("1st", Language::Rust, None).is_err());
    }
}
