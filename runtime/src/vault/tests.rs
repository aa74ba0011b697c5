use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;
use crate::model::Timestamp;

fn vault() -> (TempDir, PathBuf, Vault) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault.key");
    let vault = Vault::open(&path, true).unwrap();
    (dir, path, vault)
}

fn ids() -> (WorkspaceId, DestinationId) {
    let now = Timestamp::from_millis(1);
    (WorkspaceId::new(now), DestinationId::new(now))
}

#[test]
fn what_is_sealed_opens_in_its_own_slot_only() {
    let (_dir, _, vault) = vault();
    let ((workspace, destination), (other_workspace, other_destination)) = (ids(), ids());
    let (key, wrapped) = vault.new_data_key(workspace);
    let slot = Slot { workspace, destination, field: "key", version: 3 };
    let sealed = key.seal(slot, &Secret::new("s3cret".to_owned()));
    assert!(memchr::memmem::find(&sealed, b"s3cret").is_none());
    assert_ne!(sealed, key.seal(slot, &Secret::new("s3cret".to_owned())), "each has a nonce of its own");
    let again = vault.unwrap(workspace, &wrapped).unwrap();
    assert_eq!(again.open(slot, &sealed).unwrap().expose(), "s3cret");
    for wrong in [
        Slot { workspace: other_workspace, ..slot },
        Slot { destination: other_destination, ..slot },
        Slot { field: "kez", ..slot },
        Slot { version: 2, ..slot },
    ] {
        assert!(matches!(key.open(wrong, &sealed), Err(VaultError::Sealed)), "{wrong:?}");
    }
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(key.open(slot, &changed).is_err(), "{at}");
        assert!(key.open(slot, &sealed[..at]).is_err(), "{at}");
    }
    assert!(matches!(vault.unwrap(other_workspace, &wrapped), Err(VaultError::Sealed)), "nor does a data key");
}

#[test]
fn a_rotation_keeps_every_key_that_is_needed_at_each_of_its_steps() {
    let (_dir, path, vault) = vault();
    let (workspace, _) = ids();
    let (_, wrapped) = vault.new_data_key(workspace);
    let first = vault.current();
    vault.begin().unwrap();
    let second = vault.current();
    assert!(vault.is_rotating() && first != second);
    vault.begin().unwrap();
    assert_eq!(vault.current(), second, "one at a time");
    // As after a crash here: both are on disk.
    let reopened = Vault::open(&path, false).unwrap();
    assert!(reopened.is_rotating() && reopened.current() == second);
    let rewrapped = reopened.rewrap(workspace, &wrapped).unwrap();
    assert_eq!(rewrapped.master, second);
    reopened.finish().unwrap();
    let reopened = Vault::open(&path, false).unwrap();
    assert!(!reopened.is_rotating() && reopened.unwrap(workspace, &rewrapped).is_ok());
    let gone = reopened.unwrap(workspace, &wrapped).err().unwrap();
    assert!(matches!(&gone, VaultError::NoSuchKey { master, .. } if *master == first), "{gone}");
    reopened.finish().unwrap();
    assert_eq!(reopened.current(), second, "there is always one");
}

#[test]
fn the_key_file_is_its_owners_and_made_only_where_nothing_is_sealed() {
    let (dir, path, vault) = vault();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    vault.begin().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(Vault::open(&dir.path().join("none"), false), Err(VaultError::File { what: "read", .. })));
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().filter(|line| line.len() == 64).count(), 2);
}

#[test]
fn a_key_that_an_operator_wrote_is_taken_and_anything_else_refused_by_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let write = |text: &str| {
        fs::write(&path, text).unwrap();
        Vault::open(&path, false)
    };
    let digits = "0123456789abcdefABCDEF0123456789".repeat(2);
    assert!(write(&format!("{digits}\n")).is_ok());
    for (text, line) in [(format!("# ok\n{digits}0"), 2), (digits.replace('a', "g"), 1), (digits.replace('0', "+"), 1)]
    {
        let error = write(&text).err().unwrap();
        assert!(matches!(error, VaultError::Malformed { line: found, .. } if found == line), "{error}");
        assert!(!error.to_string().contains("456789"), "{error}");
    }
    assert!(matches!(write("# nothing\n"), Err(VaultError::Empty(_))));
}

#[test]
fn bytes_open_in_their_place_with_their_key_only_and_no_two_sealings_are_alike() {
    let (_dir, _path, vault) = vault();
    let (key, wrapped) = vault.new_data_key(ids().0);
    let [one, other] = [key.seal_bytes(7, b"place", b"events"), key.seal_bytes(7, b"place", b"events")];
    assert!(one[0] == 7 && one != other && one.len() == 1 + NONCE + 6 + TAG);
    let again = vault.unwrap(ids().0, &wrapped);
    assert!(again.is_err(), "another workspace");
    for sealed in [&one, &other] {
        assert_eq!(key.open_bytes(b"place", &sealed[1..]).unwrap(), b"events");
        assert!(key.open_bytes(b"elsewhere", &sealed[1..]).is_err());
        assert!(vault.new_data_key(ids().0).0.open_bytes(b"place", &sealed[1..]).is_err());
        for at in 1..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open_bytes(b"place", &changed[1..]).is_err(), "byte {at}");
        }
    }
    assert!(key.open_bytes(b"place", &[0; 10]).is_err());
    assert!(key.seal_bytes(7, b"", b"").len() == 1 + NONCE + TAG);
}
