//! For the unit tests: what a finding has to be, and invented trees of `/sys` and `/proc`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::finding::{Finding, State};

/// It is of this state, says this, and what to do about it when something is wrong.
pub(super) fn assert_finding(finding: &Finding, state: State, part: &str) {
    assert_eq!(finding.state, state, "{finding:?}");
    assert!(finding.line().contains(part), "{part}: {finding:?}");
    let is_told = matches!(state, State::Ok | State::Skipped) || !finding.to_do.is_empty();
    assert!(is_told, "{finding:?}");
}

/// A directory of invented files, removed when it is dropped.
pub(super) struct Tree(PathBuf);

impl Tree {
    /// A tree with these files; `name` is its own among the tests.
    pub(super) fn new(name: &str, files: &[(&str, &str)]) -> Tree {
        let name = format!("crmirror-doctor-{name}-{}", std::process::id());
        let tree = Tree(std::env::temp_dir().join(name));
        fs::create_dir_all(&tree.0).unwrap();
        files.iter().for_each(|(path, text)| tree.write(path, text));
        tree
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A symbolic link at `path`.
    pub(super) fn link(&self, path: &str, to: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(to, path).unwrap();
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
