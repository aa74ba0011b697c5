//! Does something again after each save of a file in a folder.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// What tools write, and nobody edits.
const NOT_WATCHED: [&str; 4] = ["target", "node_modules", ".git", "__pycache__"];

/// How long nothing must happen until a save is over: editors write a file in several steps, within a millisecond or two.
const QUIET: Duration = Duration::from_millis(10);

/// Calls `work` at once and after each save below the folder, one call at a time. Ends with the process.
///
/// # Errors
/// The folder cannot be watched.
pub(super) async fn after_each_save(folder: &Path, mut work: impl AsyncFnMut()) -> anyhow::Result<u8> {
    // One place: whether something was saved is all that counts.
    let (saved, mut saves) = mpsc::channel(1);
    let on_event = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| is_save(&event)) {
            // A save that is already noted need not be noted twice.
            let _ = saved.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(on_event).context("files cannot be watched here")?;
    let mut watched = BTreeSet::new();
    watch(&mut watcher, folder, &mut watched)?;
    loop {
        work().await;
        if saves.recv().await.is_none() {
            anyhow::bail!("`{}` can no longer be watched", folder.display());
        }
        while tokio::time::timeout(QUIET, saves.recv()).await.is_ok_and(|save| save.is_some()) {}
        // Folders may have come with it.
        watch(&mut watcher, folder, &mut watched)?;
    }
}

fn is_save(event: &notify::Event) -> bool {
    let changes = matches!(
        event.kind,
        EventKind::Create(_)
            | EventKind::Remove(_)
            | EventKind::Modify(notify::event::ModifyKind::Data(_) | notify::event::ModifyKind::Name(_))
    );
    changes && event.paths.iter().any(|path| !is_temporary(path))
}

/// What editors keep beside a file while it is open.
fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with('~') || name.ends_with(".swp") || name.starts_with(".#") || name == "4913"
}

/// Watches the folder and those in it that are not watched yet.
fn watch(watcher: &mut RecommendedWatcher, folder: &Path, watched: &mut BTreeSet<PathBuf>) -> anyhow::Result<()> {
    if watched.insert(folder.to_owned()) {
        watcher
            .watch(folder, RecursiveMode::NonRecursive)
            .with_context(|| format!("`{}` cannot be watched", folder.display()))?;
    }
    // A folder that is gone again needs no watching.
    for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let skipped = path.file_name().is_some_and(|name| NOT_WATCHED.iter().any(|not| name == *not));
        if path.is_dir() && !path.is_symlink() && !skipped {
            watch(watcher, &path, watched)?;
        }
    }
    Ok(())
}
