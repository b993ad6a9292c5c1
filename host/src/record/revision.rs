//! The git revision of a folder, read from `.git` itself: there need not be a git here, and none is asked.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The commit that is checked out where a folder is, in hex; `None` outside a repository, and before its
/// first commit.
pub fn revision(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let git = folder.ancestors().find_map(|folder| git_folder(&folder.join(".git")))?;
    // A worktree has a head of its own; the rest is where the repository is.
    let common = fs::read_to_string(git.join("commondir")).ok();
    let common = common.map_or_else(|| git.clone(), |path| git.join(path.trim()));
    let mut text = fs::read_to_string(git.join("HEAD")).ok()?;
    for _ in 0..5 {
        let Some(name) = text.trim().strip_prefix("ref: ") else { return hex(&text) };
        if name.contains("..") {
            return None;
        }
        let loose =
            [&git, &common].into_iter().find_map(|it| fs::read_to_string(it.join(name)).ok());
        text = match loose {
            Some(text) => text,
            None => packed(&common, name)?,
        };
    }
    None
}

/// Where a `.git` leads: itself, or what it names.
fn git_folder(path: &Path) -> Option<PathBuf> {
    if path.is_dir() {
        return Some(path.to_owned());
    }
    let text = fs::read_to_string(path).ok()?;
    Some(path.parent()?.join(text.strip_prefix("gitdir:")?.trim()))
}

fn packed(common: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(common.join("packed-refs")).ok()?;
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find_map(|(commit, known)| (known == name).then(|| commit.to_owned()))
}

fn hex(text: &str) -> Option<String> {
    let text = text.trim();
    let is_hex =
        text.len() >= 40 && text.len() <= 64 && text.chars().all(|c| c.is_ascii_hexdigit());
    is_hex.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "1111111111111111111111111111111111111111";
    const TWO: &str = "2222222222222222222222222222222222222222";

    #[test]
    fn the_commit_is_found_however_git_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let below = folder.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        assert_eq!(revision(&below), None);
        write(".git/HEAD", "ref: refs/heads/main\n");
        assert_eq!(revision(&below), None, "no commit yet");
        write(".git/packed-refs", &format!("# pack-refs\n{TWO} refs/heads/main\n"));
        assert_eq!(revision(&below).as_deref(), Some(TWO));
        write(".git/refs/heads/main", &format!("{ONE}\n"));
        assert_eq!(revision(&below).as_deref(), Some(ONE), "the loose one is newer");
        write(".git/HEAD", TWO);
        assert_eq!(revision(&below).as_deref(), Some(TWO), "detached");
        write(".git/worktrees/w/HEAD", "ref: refs/heads/main");
        write(".git/worktrees/w/commondir", "../..\n");
        write("w/.git", "gitdir: ../.git/worktrees/w\n");
        assert_eq!(revision(&folder.path().join("w")).as_deref(), Some(ONE));
        write(".git/HEAD", "ref: ../../../etc/passwd");
        assert_eq!(revision(&below), None);
    }
}
