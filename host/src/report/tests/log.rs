//! What a workflow of GitHub would obey in the log of a run.

use super::*;

/// The command in a line: `::name properties::data` at its beginning, or `##[name properties]data` anywhere.
fn command(line: &str) -> Option<(String, String)> {
    let told = |head: &str, data: &str| {
        (head.split(' ').next().unwrap_or_default().to_lowercase(), data.to_owned())
    };
    let begins = line.trim_start().strip_prefix("::").and_then(|rest| rest.split_once("::"));
    if let Some((head, data)) = begins {
        return Some(told(head, data));
    }
    let (head, data) = line.split_once("##[")?.1.split_once(']')?;
    Some(told(head, data))
}

/// The lines that are obeyed: none between the line that stops commands and its token.
fn obeyed(log: &str) -> Vec<&str> {
    let mut stopped: Option<String> = None;
    let mut obeyed = Vec::new();
    for line in log.lines() {
        let Some((name, data)) = command(line) else { continue };
        match &stopped {
            Some(token) if *token == name => stopped = None,
            Some(_) => {}
            None if name == "stop-commands" => stopped = Some(data),
            None => obeyed.push(line),
        }
    }
    assert_eq!(stopped, None, "nothing after it would be obeyed");
    obeyed
}

#[test]
fn of_a_log_only_our_annotations_are_obeyed() {
    let token = "wavetank-5f0e";
    let mut unfenced = 0;
    let more =
        ["::stop-commands::x", "::x::", "::add-mask::a", "##[set-output name=a]b", "a ##[error]b"];
    for words in nasty().into_iter().chain(more.map(str::to_owned)) {
        let told = told_with(&words);
        let page = terminal::render(&told.summary, terminal::Options { color: false, long: true });
        let said = format!("[info] vu 1: {words}\n{page}");
        let annotations = github::annotations(&told);
        let log = format!(
            "{0}\n{said}\n{1}\n{annotations}{0}\n{said}\n{1}\n",
            github::stopped(token),
            github::resumed(token)
        );
        assert_eq!(obeyed(&log), annotations.lines().collect::<Vec<_>>(), "{words:.60?}");
        let bare = said.lines().filter(|line| command(line).is_some()).count();
        unfenced += usize::from(bare > 0);
    }
    assert!(unfenced >= 5, "without a fence {unfenced} of the strings would be obeyed");
}
