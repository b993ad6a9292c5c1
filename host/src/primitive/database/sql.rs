//! Reads a statement's text far enough to count its placeholders and to refuse what it must not do.
//!
//! ```text
//! text      -> blank* statement (blank* ";")* blank*
//! statement -> (word | quoted | placeholder | escape | any)+
//! placeholder -> "?"            a value; "$1", "$2", … on PostgreSQL
//! escape    -> "??"             PostgreSQL only: the operator "?" ("??|" is "?|", "??&" is "?&")
//! quoted    -> string | identifier | comment | dollar-quoted text (PostgreSQL)
//! ```
//!
//! Why a tokenizer of our own and no parser: each database has its own grammar and checks it; what
//! they do not know is that one handle serves many virtual users, so that a `COMMIT` in a text would
//! end another one's transaction. Numbered and named placeholders are refused, because only `?` means
//! the same on both.

use std::sync::Arc;

use super::Dialect;
use crate::primitive::Misuse;

/// Longer texts are read and prepared anew each time: caches count texts, and a workload that puts
/// its values into long ones must not fill the memory.
const KEPT_BYTES: usize = 16 << 10;

/// Where a statement goes and what it may leave behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    /// The text with the database's own placeholders.
    pub sql: Arc<str>,
    /// How many values it takes.
    pub placeholders: usize,
    /// It only reads, by its first word (a `WITH` may still write; SQLite says so when preparing).
    pub reads: bool,
    /// It may leave something in the session (a setting, a lock, a temporary table).
    pub marks_session: bool,
}

impl Parsed {
    /// Whether caches keep it.
    pub(super) fn is_kept(&self) -> bool {
        is_kept(&self.sql)
    }
}

/// Whether caches keep a text.
pub(super) fn is_kept(sql: &str) -> bool {
    sql.len() <= KEPT_BYTES
}

/// First words that begin or end a transaction.
const TRANSACTION: [&str; 9] =
    ["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE", "TRANSACTION"];
/// First words that a shared, prepared connection cannot serve.
const UNSERVED: [&str; 5] = ["COPY", "PREPARE", "EXECUTE", "DEALLOCATE", "DISCARD"];
/// First words of statements that leave nothing in the session by themselves.
const PLAIN: [&str; 8] =
    ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "VALUES", "TABLE"];
/// First words of statements that read.
const READS: [&str; 5] = ["SELECT", "WITH", "VALUES", "EXPLAIN", "PRAGMA"];

/// Reads a statement.
pub(super) fn parse(text: &str, dialect: Dialect) -> Result<Parsed, Misuse> {
    let mut reader = Reader { text, at: 0, dialect, out: String::with_capacity(text.len() + 8) };
    let mut found = Found::default();
    while reader.at < text.len() {
        reader.token(&mut found)?;
    }
    let Some(first) = found.words.first().map(String::as_str) else {
        return Err(Misuse::new("the SQL text holds no statement"));
    };
    refuse(first, &found)?;
    Ok(Parsed {
        sql: reader.out.into(),
        placeholders: found.placeholders,
        reads: READS.contains(&first),
        marks_session: found.marks_session || !PLAIN.contains(&first),
    })
}

fn refuse(first: &str, found: &Found) -> Result<(), Misuse> {
    let second = found.words.get(1).map_or("", String::as_str);
    if TRANSACTION.contains(&first)
        || (first == "PREPARE" && second == "TRANSACTION")
        || (first == "SET" && found.words.iter().any(|word| word == "TRANSACTION"))
    {
        return Err(Misuse::new(format!(
            "{first} in SQL text: transactions are calls here, because the host must know when one \
             ends; use db::transaction, or db::begin, db::commit and db::rollback"
        )));
    }
    if UNSERVED.contains(&first) {
        return Err(Misuse::new(format!(
            "{first} in SQL text is not served: the host prepares statements itself and streams no \
             data; use INSERT, or a batch of them"
        )));
    }
    Ok(())
}

/// What was seen so far.
#[derive(Default)]
struct Found {
    /// The first few words, in capitals.
    words: Vec<String>,
    placeholders: usize,
    marks_session: bool,
    /// A `;` ended the statement.
    ended: bool,
}

impl Found {
    fn word(&mut self, word: &str) {
        if self.words.len() < 8 {
            self.words.push(word.to_ascii_uppercase());
        }
        self.marks_session |= ["set_config", "temp", "temporary", "pg_temp"]
            .iter()
            .any(|marking| word.eq_ignore_ascii_case(marking))
            || word.get(..11).is_some_and(|start| start.eq_ignore_ascii_case("pg_advisory"))
            || word.get(..15).is_some_and(|start| start.eq_ignore_ascii_case("pg_try_advisory"));
    }

    /// Triggers, and SQL functions of PostgreSQL, hold statements; the databases see to those.
    fn may_hold_statements(&self) -> bool {
        self.words.first().is_some_and(|first| first == "CREATE")
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    dialect: Dialect,
    out: String,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// Takes `len` bytes as they are.
    fn take(&mut self, len: usize) {
        let end = (self.at + len).min(self.text.len());
        self.out.push_str(&self.text[self.at..end]);
        self.at = end;
    }

    fn token(&mut self, found: &mut Found) -> Result<(), Misuse> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(()) };
        if let Some(len) = blank(rest, self.dialect) {
            self.take(len);
            return Ok(());
        }
        if first == ';' {
            found.ended |= !found.words.is_empty();
            // A leading `;` would be an empty statement in front of the real one.
            if found.ended {
                self.take(1);
            } else {
                self.at += 1;
            }
            return Ok(());
        }
        if found.ended && !found.may_hold_statements() {
            return Err(Misuse::new(
                "the SQL text holds several statements: send them one by one, or as a batch",
            ));
        }
        if let Some(len) = quoted(rest, self.dialect) {
            self.take(len);
        } else if first.is_alphabetic() || first == '_' {
            self.word(found);
        } else if first.is_ascii_digit() {
            let len = word_len(rest);
            self.take(len);
        } else {
            self.punctuation(first, found)?;
        }
        Ok(())
    }

    fn word(&mut self, found: &mut Found) {
        let len = word_len(self.rest());
        let word = &self.text[self.at..self.at + len];
        found.word(word);
        let escaped = self.dialect == Dialect::Postgres && word.eq_ignore_ascii_case("e");
        self.take(len);
        if escaped && self.rest().starts_with('\'') {
            let len = string_len(self.rest(), '\'', true);
            self.take(len);
        }
    }

    fn punctuation(&mut self, first: char, found: &mut Found) -> Result<(), Misuse> {
        let rest = self.rest();
        let next = rest[first.len_utf8()..].chars().next();
        let named = next.is_some_and(|next| next.is_alphanumeric() || next == '_');
        match first {
            '?' if next == Some('?') => {
                if self.dialect == Dialect::Sqlite {
                    return Err(Misuse::new("`??` means the operator `?` of PostgreSQL only"));
                }
                self.out.push('?');
                self.at += 2;
                // `?|` and `?&` are operators of their own.
                if self.rest().starts_with(['|', '&']) {
                    self.take(1);
                }
            }
            '?' if next.is_some_and(|next| next.is_ascii_digit()) => {
                return Err(only_question(rest));
            }
            '?' => {
                found.placeholders += 1;
                self.at += 1;
                match self.dialect {
                    Dialect::Sqlite => self.out.push('?'),
                    Dialect::Postgres => {
                        self.out.push('$');
                        self.out.push_str(&found.placeholders.to_string());
                        // Keeps `?1`-like neighbours apart.
                        self.out.push(' ');
                    }
                }
            }
            '$' if named => return Err(only_question(rest)),
            ':' if next == Some(':') => self.take(2),
            ':' | '@' if named && self.dialect == Dialect::Sqlite => {
                return Err(only_question(rest));
            }
            _ => self.take(first.len_utf8()),
        }
        Ok(())
    }
}

fn only_question(rest: &str) -> Misuse {
    let end = rest[1..].find(|next: char| !next.is_alphanumeric() && next != '_');
    let shown: String = rest[..end.map_or(rest.len(), |end| end + 1)].chars().take(32).collect();
    Misuse::new(format!("placeholder `{shown}`: write `?`, which means the same on both databases"))
}

/// Length of the blank or comment at the start.
fn blank(rest: &str, dialect: Dialect) -> Option<usize> {
    if rest.starts_with("--") {
        // PostgreSQL ends the comment at a carriage return too, and reads on behind it.
        let ends = |next: char| next == '\n' || (next == '\r' && dialect == Dialect::Postgres);
        return Some(rest.find(ends).map_or(rest.len(), |end| end + 1));
    }
    if rest.starts_with("/*") {
        return Some(comment_len(rest, dialect == Dialect::Postgres));
    }
    let len = rest.len() - rest.trim_start().len();
    (len > 0).then_some(len)
}

/// Length of the comment at the start; PostgreSQL nests them.
fn comment_len(rest: &str, nests: bool) -> usize {
    let bytes = rest.as_bytes();
    let (mut depth, mut at) = (1_usize, 2);
    while at < bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"*/") => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            Some(b"/*") if nests => {
                depth += 1;
                at += 2;
            }
            _ => at += 1,
        }
    }
    rest.len()
}

/// Length of the string, identifier or dollar-quoted text at the start.
fn quoted(rest: &str, dialect: Dialect) -> Option<usize> {
    let first = rest.chars().next()?;
    match (first, dialect) {
        ('\'' | '"', _) | ('`', Dialect::Sqlite) => Some(string_len(rest, first, false)),
        ('[', Dialect::Sqlite) => Some(rest.find(']').map_or(rest.len(), |end| end + 1)),
        ('$', Dialect::Postgres) => dollar_len(rest),
        _ => None,
    }
}

/// Length of what begins with `quote` and ends with the next one that is not doubled (nor, with
/// `escapes`, behind a backslash).
fn string_len(rest: &str, quote: char, escapes: bool) -> usize {
    let bytes = rest.as_bytes();
    let quote = quote as u8;
    let mut at = 1;
    while at < bytes.len() {
        if escapes && bytes[at] == b'\\' {
            at += 2;
        } else if bytes[at] != quote {
            at += 1;
        } else if bytes.get(at + 1) == Some(&quote) {
            at += 2;
        } else {
            return at + 1;
        }
    }
    rest.len()
}

/// Length of `$tag$ … $tag$`; `None` if it is none.
fn dollar_len(rest: &str) -> Option<usize> {
    let tag_end = rest[1..].find('$')? + 2;
    let tag = &rest[..tag_end];
    let inner = &tag[1..tag.len() - 1];
    let valid = inner.chars().all(|next| next.is_alphanumeric() || next == '_')
        && !inner.starts_with(|next: char| next.is_ascii_digit());
    if !valid {
        return None;
    }
    Some(rest[tag_end..].find(tag).map_or(rest.len(), |end| tag_end + end + tag.len()))
}

fn word_len(rest: &str) -> usize {
    rest.find(|next: char| !next.is_alphanumeric() && next != '_' && next != '$')
        .unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn postgres(text: &str) -> String {
        parse(text, Dialect::Postgres).unwrap().sql.to_string()
    }

    fn refused(text: &str) -> String {
        let sqlite = parse(text, Dialect::Sqlite).unwrap_err().0;
        assert_eq!(sqlite, parse(text, Dialect::Postgres).unwrap_err().0);
        sqlite
    }

    #[test]
    fn placeholders_are_found_outside_of_quotes_and_comments_only() {
        let text = "SELECT '?''?', \"?\", ? /* ? /* ? */ ? */ -- ?\n, $tag$ ? $tag$, ? FROM t$1";
        let parsed = parse(text, Dialect::Postgres).unwrap();
        assert_eq!(parsed.placeholders, 2);
        assert_eq!(
            &*parsed.sql,
            "SELECT '?''?', \"?\", $1  /* ? /* ? */ ? */ -- ?\n, $tag$ ? $tag$, $2  FROM t$1"
        );
        let text = "SELECT [?], `?`, ? /* /* ? */ , ?";
        assert_eq!(parse(text, Dialect::Sqlite).unwrap().placeholders, 2);
        assert_eq!(postgres(r"SELECT E'\'?', ?"), r"SELECT E'\'?', $1 ");
    }

    #[test]
    fn the_question_mark_operators_of_postgres_are_doubled() {
        assert_eq!(postgres("SELECT a ?? ? AND b ??| c"), "SELECT a ? $1  AND b ?| c");
        assert!(parse("SELECT a ?? b", Dialect::Sqlite).unwrap_err().0.contains("PostgreSQL"));
    }

    #[test]
    fn other_placeholders_are_refused() {
        for text in ["SELECT ?1", "SELECT $1", "SELECT $name"] {
            assert!(refused(text).contains("write `?`"), "{text}");
        }
        assert!(parse("SELECT :name", Dialect::Sqlite).is_err());
        assert!(parse("SELECT @name", Dialect::Sqlite).is_err());
        assert_eq!(postgres("SELECT a::int, b[1:2]"), "SELECT a::int, b[1:2]");
    }

    #[test]
    fn transactions_are_calls() {
        for text in [
            "begin",
            "/* x */ COMMIT",
            "-- x\nROLLBACK",
            "; END",
            "savepoint a",
            "RELEASE a",
            "start transaction",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "PREPARE TRANSACTION 'x'",
        ] {
            assert!(refused(text).contains("transactions are calls"), "{text}");
        }
        assert!(parse("SELECT 'COMMIT'", Dialect::Sqlite).is_ok());
        // What is a comment to one database is none to the other.
        assert!(parse("--\rCOMMIT /*\nSELECT 1 */", Dialect::Postgres).is_err());
        assert!(parse("/* /* */ COMMIT -- */", Dialect::Sqlite).is_err());
    }

    #[test]
    fn one_statement_at_a_time() {
        for text in ["SELECT 1; SELECT 2", "DELETE FROM t WHERE a = ?; COMMIT", "SELECT 1;;x"] {
            assert!(refused(text).contains("several statements"), "{text}");
        }
        for text in ["", "  ;; ", "-- only a comment"] {
            assert!(refused(text).contains("no statement"), "{text:?}");
        }
        assert!(parse("SELECT 1 ; -- done\n ;", Dialect::Sqlite).is_ok());
        let trigger = "CREATE TRIGGER a AFTER INSERT ON t BEGIN UPDATE t SET x = 1; END";
        assert!(parse(trigger, Dialect::Sqlite).is_ok());
    }

    #[test]
    fn what_may_stay_in_the_session_is_seen() {
        let marks = |text| parse(text, Dialect::Postgres).unwrap().marks_session;
        assert!(!marks("SELECT count(*) FROM t WHERE a = ?"));
        assert!(marks("SET search_path = x"));
        assert!(marks("SELECT set_config('a.b', ?, false)"));
        assert!(marks("SELECT pg_advisory_lock(1)"));
        assert!(marks("SELECT a INTO TEMP x FROM t"));
        assert!(marks("LISTEN x"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            for dialect in [Dialect::Sqlite, Dialect::Postgres] {
                drop(parse(&text, dialect));
            }
        }

        #[test]
        fn no_quotable_text_panics(text in "[a$?;'\"\\\\/*\\-\\[\\]`:@1é \n]{0,40}") {
            for dialect in [Dialect::Sqlite, Dialect::Postgres] {
                drop(parse(&text, dialect));
            }
        }
    }
}
