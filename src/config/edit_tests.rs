use std::os::unix::fs::symlink;

use proptest::prelude::*;
use toml_edit::{ArrayOfTables, Item, Table, value};

use super::*;

type Outcome = Result<(), EditError>;

fn add(id: &str) -> impl FnOnce(&mut DocumentMut) -> Outcome {
    let id = id.to_owned();
    move |document| {
        let keys = document.entry("key").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
        let mut table = Table::new();
        table.insert("id", value(id));
        keys.as_array_of_tables_mut().expect("the test's file has tables").push(table);
        Ok(())
    }
}

fn folder_with(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("keys.toml");
    fs::write(&path, text).expect("a scratch file");
    (folder, path)
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("the file is there")
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_new_file_is_for_its_owner_alone_and_nothing_else_is_left() -> Outcome {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("keys.toml");
    edit(&path, add("a"))?;
    assert_eq!(text(&path), "[[key]]\nid = \"a\"\n");
    let mode = fs::metadata(&path).expect("made").mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(names(folder.path()), [".keys.toml.lock", "keys.toml"]);
    Ok(())
}

#[test]
fn comments_order_formatting_and_mode_are_kept() -> Outcome {
    let before = "# top\n\n[[key]] # one\n  id   = 'b'   # quoted so\nmeta.x = \"1\"\n\n\
         # between\n[[key]]\nid=\"a\"\n# end\n";
    let (_folder, path) = folder_with(before);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
    edit(&path, |document| {
        document["key"][1]["id"] = value("c");
        Ok::<_, EditError>(())
    })?;
    assert_eq!(text(&path), before.replace("id=\"a\"", "id= \"c\""));
    assert_eq!(fs::metadata(&path).expect("kept").mode() & 0o7777, 0o640);
    Ok(())
}

#[test]
fn root_leaves_another_users_folder_usable() -> Outcome {
    let (folder, path) = folder_with("");
    let lock = folder.path().join(".keys.toml.lock");
    if std::os::unix::fs::chown(&path, Some(12_345), Some(54_321)).is_err() {
        return Ok(()); // Only root can set this scene.
    }
    edit(&path, add("a"))?;
    for path in [path, lock] {
        let metadata = fs::metadata(&path).expect("there");
        assert_eq!((metadata.uid(), metadata.gid()), (12_345, 54_321));
    }
    Ok(())
}

#[test]
fn a_link_in_the_place_of_the_lock_is_refused() {
    let (folder, path) = folder_with("");
    let other = folder.path().join("other");
    fs::write(&other, "precious").expect("a file");
    symlink(&other, folder.path().join(".keys.toml.lock")).expect("link");
    assert!(edit(&path, add("a")).is_err());
    assert_eq!((text(&path), text(&other)), (String::new(), "precious".into()));
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_survive() -> Outcome {
    let (_folder, path) = folder_with("\u{feff}# top\r\n[[key]]\r\nid = \"a\"\r\n");
    edit(&path, add("b"))?;
    assert_eq!(text(&path), "\u{feff}# top\r\n[[key]]\r\nid = \"a\"\r\n\r\n[[key]]\r\nid = \"b\"\r\n");
    Ok(())
}

#[test]
fn links_are_followed_and_stay_links() -> Outcome {
    let (folder, path) = folder_with("");
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    symlink("keys.toml", &one).expect("link");
    symlink(&one, &two).expect("link");
    edit(&two, add("a"))?;
    assert!(text(&path).contains("\"a\""));
    assert!(fs::symlink_metadata(&two).expect("there").is_symlink());

    let dangling = folder.path().join("dangling");
    symlink("later.toml", &dangling).expect("link");
    edit(&dangling, add("b"))?;
    assert!(text(&folder.path().join("later.toml")).contains("\"b\""));

    let circle = folder.path().join("circle");
    symlink("circle", &circle).expect("link");
    assert!(edit(&circle, add("c")).is_err());
    Ok(())
}

#[test]
fn what_is_not_toml_is_not_touched_and_not_shown() {
    let before = "[[key]]\nid = \"a\"\nhash = \"sha256:c0ffee\nowner = \"x\"\n";
    let (folder, path) = folder_with(before);
    let error = edit(&path, add("b")).expect_err("not TOML").to_string();
    assert_eq!(text(&path), before);
    assert!(error.contains("keys.toml:3:"), "{error}");
    assert!(!error.contains("c0ffee"), "{error}");
    assert_eq!(names(folder.path()), [".keys.toml.lock", "keys.toml"]);
}

#[test]
fn a_refusal_and_a_change_of_nothing_write_nothing() -> Outcome {
    let (_folder, path) = folder_with("# no newline at the end");
    let inode = fs::metadata(&path).expect("there").ino();
    edit(&path, |_| Ok::<_, EditError>(()))?;
    let refused = edit(&path, |document| {
        document["x"] = value(1);
        Err::<(), _>(EditError::Busy { path: PathBuf::new() })
    });
    assert!(refused.is_err());
    assert_eq!(fs::metadata(&path).expect("there").ino(), inode);
    assert_eq!(text(&path), "# no newline at the end");
    Ok(())
}

#[test]
fn what_is_no_regular_file_is_left_alone() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    for path in [folder.path(), Path::new("/dev/null"), Path::new("/")] {
        assert!(edit(path, add("a")).is_err(), "{}", path.display());
    }
    let nowhere = folder.path().join("no/such/folder/keys.toml");
    assert!(edit(&nowhere, add("a")).is_err());
}

#[test]
fn eight_writers_lose_no_entry() {
    let (_folder, path) = folder_with("# ours\n");
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let path = &path;
            scope.spawn(move || {
                for n in 0..25 {
                    edit(path, add(&format!("k{writer}-{n}"))).expect("an edit");
                }
            });
        }
    });
    let text = text(&path);
    assert_eq!(text.matches("[[key]]").count(), 200);
    for writer in 0..8 {
        for n in 0..25 {
            assert!(text.contains(&format!("\"k{writer}-{n}\"")), "{writer} {n}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_edited_whole_or_not_at_all(
        before in "(# [a-z]*\n|\\[\\[key\\]\\]\n|id = \"[a-z]{1,3}\"\n|\n|[ -~]{0,12}\n){0,8}",
    ) {
        let (_folder, path) = folder_with(&before);
        match edit(&path, |document| {
            document["added"] = value(true);
            Ok::<_, EditError>(())
        }) {
            Ok(()) => prop_assert!(text(&path).parse::<DocumentMut>().is_ok()),
            Err(_) => prop_assert_eq!(text(&path), before),
        }
    }
}
