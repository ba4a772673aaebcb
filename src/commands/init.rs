//! `keyward init`: a commented `keyward.toml` and an empty `keys.toml`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const GATEWAY: &str = include_str!("../../config/keyward.toml");
const KEYS: &str = include_str!("../../config/keys.toml");

/// Writes both files into `dir`, which it makes if need be, and tells `out`. Gives the exit status: 1, with nothing
/// written, where one of them exists.
pub fn init(dir: &Path, out: &mut impl Write) -> io::Result<u8> {
    let (gateway, keys) = (dir.join("keyward.toml"), dir.join("keys.toml"));
    let mut exists = false;
    for path in [&gateway, &keys] {
        if path.symlink_metadata().is_ok() {
            writeln!(out, "{} exists, nothing was written", path.display())?;
            exists = true;
        }
    }
    if exists {
        return Ok(1);
    }
    fs::create_dir_all(dir)?;
    write(&gateway, 0o644, GATEWAY)?;
    write(&keys, 0o600, KEYS)?;
    writeln!(out, "wrote {} and {}", gateway.display(), keys.display())?;
    writeln!(out, "next: set `servers` in [upstream.default], then")?;
    writeln!(out, "  keyward key new ID -c {}", gateway.display())?;
    writeln!(out, "  keyward run -c {}", gateway.display())?;
    Ok(0)
}

/// Never over a file that appeared meanwhile.
fn write(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::commands::check::check;

    #[test]
    fn what_it_writes_is_good_and_private_and_never_overwritten() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let dir = scratch.path().join("new/folder");
        assert_eq!(init(&dir, &mut Vec::new()).ok(), Some(0));
        let mode = |name| {
            let metadata = fs::metadata(dir.join(name)).expect("it was written");
            metadata.permissions().mode() & 0o777
        };
        assert_eq!(mode("keys.toml"), 0o600);
        let mut out = Vec::new();
        let files = crate::cli::Files { config: Some(dir.join("keyward.toml")), keys: None };
        // Without even a warning.
        let args = crate::cli::CheckArgs { strict: true, json: false };
        let status = check(&files, &args, false, &mut out);
        assert_eq!(status.ok(), Some(0), "{}", String::from_utf8_lossy(&out));

        fs::write(dir.join("keyward.toml"), "mine").expect("a file can be replaced");
        fs::remove_file(dir.join("keys.toml")).expect("a file can be removed");
        assert_eq!(init(&dir, &mut Vec::new()).ok(), Some(1));
        assert_eq!(fs::read_to_string(dir.join("keyward.toml")).ok().as_deref(), Some("mine"));
        assert!(!dir.join("keys.toml").exists(), "all or nothing");
    }
}
