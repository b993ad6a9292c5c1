//! The words of a threshold, with where each stands. What they mean is `meaning.rs`'s part.
//!
//! ```text
//! threshold  -> conjunct (ws "or" ws conjunct)*
//! conjunct   -> assertion (ws "and" ws assertion)*
//! assertion  -> aggregate window? ws* op ws* operand
//! aggregate  -> word | "p(" number ")"
//! op         -> ">" | ">=" | "<=" | "<" | "==" | "===" | "!="
//! operand    -> number ws* unit?
//!             | (number ws* "*" ws*)? (metric ".")? aggregate selector? window?
//!             | (number ws* "*" ws*)? "baseline"
//! window     -> ws ("over first" | "over last" | "each" | "after") ws duration
//! selector   -> "{" tag ":" value ("," tag ":" value)* "}"
//! ```
//!
//! Nothing recurses, so that no text can exhaust the stack.

use std::{collections::BTreeMap, ops::Range};

use winnow::{
    LocatingSlice, Parser,
    combinator::opt,
    error::{ErrMode, ParserError},
    stream::Location,
    token::{literal, take_while},
};

use super::{Aggregate, Comparison, Window};
use crate::{
    metric::Selector,
    plan::{
        quantity::{number as parse_number, parse_duration, shown},
        section::suggestion,
    },
};

pub(in crate::plan) type Input<'a> = LocatingSlice<&'a str>;
pub(in crate::plan) type Parsed<T> = Result<T, ErrMode<Fault>>;

/// What is wrong with a text, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::plan) struct Fault {
    pub(in crate::plan) message: String,
    pub(in crate::plan) range: Range<usize>,
    pub(in crate::plan) help: String,
}

/// A part of the text and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::plan) struct At<T> {
    pub(in crate::plan) value: T,
    pub(in crate::plan) range: Range<usize>,
}

/// An assertion as it was written.
#[derive(Clone, Debug)]
pub(in crate::plan) struct Written {
    pub(in crate::plan) aggregate: At<Aggregate>,
    pub(in crate::plan) window: Option<At<Window>>,
    pub(in crate::plan) comparison: At<Comparison>,
    pub(in crate::plan) operand: At<WrittenOperand>,
}

/// An operand as it was written.
#[derive(Clone, Debug)]
pub(in crate::plan) enum WrittenOperand {
    Number { value: f64, unit: Option<At<String>> },
    Figure { factor: f64, figure: Figure, window: Option<At<Window>> },
    Baseline { factor: f64 },
}

/// `metric.aggregate{selector}`; also the leaf of a formula.
#[derive(Clone, Debug)]
pub(in crate::plan) struct Figure {
    pub(in crate::plan) metric: Option<At<String>>,
    pub(in crate::plan) aggregate: At<Aggregate>,
    pub(in crate::plan) selector: Option<At<Selector>>,
}

/// Bytes of an expression.
const LONGEST: usize = 4_096;

const AGGREGATES: &[(&str, Aggregate)] = &[
    ("avg", Aggregate::Mean),
    ("mean", Aggregate::Mean),
    ("min", Aggregate::Min),
    ("max", Aggregate::Max),
    ("med", Aggregate::Median),
    ("stddev", Aggregate::Stddev),
    ("count", Aggregate::Count),
    ("rate", Aggregate::Rate),
    ("value", Aggregate::Value),
    ("slope", Aggregate::Slope),
];

impl Fault {
    pub(in crate::plan) fn new(
        range: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self { message: message.into(), range, help: help.into() }
    }

    /// An error that no other branch of the grammar can mend.
    fn cut<T>(
        range: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Parsed<T> {
        Err(ErrMode::Cut(Self::new(range, message, help)))
    }
}

impl ParserError<Input<'_>> for Fault {
    type Inner = Self;

    fn from_input(input: &Input<'_>) -> Self {
        let at = input.current_token_start();
        let rest: &str = input.as_ref();
        let end = at + rest.chars().next().map_or(0, char::len_utf8);
        Self::new(at..end, "this is not understood", "see the threshold grammar")
    }

    fn into_inner(self) -> Result<Self, Self> {
        Ok(self)
    }
}

/// Parses a whole threshold expression.
pub(super) fn expression(text: &str) -> Result<Vec<Vec<Written>>, Fault> {
    if text.len() > LONGEST {
        let message = format!("a threshold of {} bytes is too long", text.len());
        return Err(Fault::new(0..0, message, format!("{LONGEST} bytes are the most")));
    }
    let mut input = Input::new(text);
    whole_expression(&mut input).map_err(|error| match error {
        ErrMode::Backtrack(fault) | ErrMode::Cut(fault) => fault,
        ErrMode::Incomplete(_) => Fault::new(0..text.len(), "it is cut off", "finish it"),
    })
}

fn whole_expression(input: &mut Input<'_>) -> Parsed<Vec<Vec<Written>>> {
    let mut alternatives = vec![vec![assertion(input)?]];
    loop {
        spaces(input)?;
        if input.is_empty() {
            return Ok(alternatives);
        }
        let word = next_word(input);
        match word.value.as_str() {
            "and" => {
                take_word(input)?;
                let next = assertion(input)?;
                if let Some(conjunct) = alternatives.last_mut() {
                    conjunct.push(next);
                }
            }
            "or" => {
                take_word(input)?;
                alternatives.push(vec![assertion(input)?]);
            }
            "over" | "each" | "after" => {
                return Fault::cut(
                    word.range,
                    "a window belongs to a figure, not to a number",
                    "write it behind the aggregate, as in `p(95) over first 10s < 200ms`",
                );
            }
            _ => {
                return Fault::cut(
                    rest(input),
                    format!("`{}` does not belong here", shown(&input[..])),
                    "after an assertion comes `and`, `or`, or the end",
                );
            }
        }
    }
}

fn assertion(input: &mut Input<'_>) -> Parsed<Written> {
    spaces(input)?;
    let aggregate = aggregate(input)?;
    let window = window(input)?;
    spaces(input)?;
    let comparison = comparison(input)?;
    spaces(input)?;
    let start = input.current_token_start();
    let operand = operand(input)?;
    let range = start..input.previous_token_end();
    Ok(Written { aggregate, window, comparison, operand: At { value: operand, range } })
}

fn comparison(input: &mut Input<'_>) -> Parsed<At<Comparison>> {
    let at = input.current_token_start();
    let symbol: &str = take_while(0.., |c: char| "<>=!".contains(c)).parse_next(input)?;
    let comparison = match symbol {
        ">" => Comparison::Greater,
        ">=" => Comparison::AtLeast,
        "<=" => Comparison::AtMost,
        "<" => Comparison::Less,
        "==" | "===" => Comparison::Equal,
        "!=" => Comparison::NotEqual,
        _ => {
            let end =
                if symbol.is_empty() { next_word(input).range.end } else { at + symbol.len() };
            return Fault::cut(
                at..end,
                if symbol.is_empty() {
                    "a comparison is missing".to_owned()
                } else {
                    format!("`{symbol}` is not a comparison")
                },
                "one of `<`, `<=`, `>`, `>=`, `==`, `!=`",
            );
        }
    };
    Ok(At { value: comparison, range: at..at + symbol.len() })
}

/// An aggregate: one of the words, or `p(95)`.
pub(in crate::plan) fn aggregate(input: &mut Input<'_>) -> Parsed<At<Aggregate>> {
    let word = take_word(input)?;
    let names: Vec<_> = AGGREGATES.iter().map(|(name, _)| *name).chain(["p(95)"]).collect();
    if word.value == "p" {
        return percentile(input, word.range.start);
    }
    if word.value.is_empty() {
        let range = rest(input);
        return Fault::cut(
            range.start..range.end.min(range.start + 1),
            "an aggregate is missing",
            suggestion("", &names),
        );
    }
    match AGGREGATES.iter().find(|(name, _)| *name == word.value) {
        Some((_, aggregate)) => Ok(At { value: *aggregate, range: word.range }),
        None => Fault::cut(
            word.range,
            format!("`{}` is not an aggregate", shown(&word.value)),
            suggestion(&word.value, &names),
        ),
    }
}

fn percentile(input: &mut Input<'_>, start: usize) -> Parsed<At<Aggregate>> {
    let help = "write a percentile as `p(95)` or `p(99.9)`";
    spaces(input)?;
    if opt_literal(input, "(")?.is_none() {
        return Fault::cut(
            start..input.current_token_start().max(start + 1),
            "`(` is missing",
            help,
        );
    }
    let at = input.current_token_start();
    let inside: &str = take_while(0.., |c: char| !"()<>=!{}".contains(c)).parse_next(input)?;
    let end = at + inside.len();
    if opt_literal(input, ")")?.is_none() {
        return Fault::cut(start..end, "`)` is missing", help);
    }
    let plain = inside.trim();
    let Some(percent) = signed(plain) else {
        let message = format!("`{}` is not a number", shown(plain));
        return Fault::cut(at..end.max(at + 1), message, help);
    };
    if !(0.0..=100.0).contains(&percent) {
        let message = format!("a percentile lies between 0 and 100, not at {percent}");
        return Fault::cut(at..end, message, help);
    }
    Ok(At { value: Aggregate::Percentile(percent), range: start..end + 1 })
}

fn signed(text: &str) -> Option<f64> {
    text.strip_prefix('-').map_or_else(|| parse_number(text), |rest| parse_number(rest).map(|n| -n))
}

/// A window, if one follows; only spaces are taken otherwise.
fn window(input: &mut Input<'_>) -> Parsed<Option<At<Window>>> {
    spaces(input)?;
    let start = input.current_token_start();
    let word = next_word(input);
    let kind: fn(std::time::Duration) -> Window = match word.value.as_str() {
        "each" => Window::Each,
        "after" => Window::After,
        "over" => {
            take_word(input)?;
            spaces(input)?;
            let which = next_word(input);
            match which.value.as_str() {
                "first" => Window::First,
                "last" => Window::Last,
                _ => {
                    return Fault::cut(
                        word.range.start..which.range.end,
                        "`over` needs `first` or `last`",
                        "as in `over first 10s`",
                    );
                }
            }
        }
        _ => return Ok(None),
    };
    take_word(input)?;
    spaces(input)?;
    let at = input.current_token_start();
    let text: &str =
        take_while(0.., |c: char| c.is_alphanumeric() || "._".contains(c)).parse_next(input)?;
    let end = at + text.len();
    let length = match parse_duration(text) {
        Ok(length) => length,
        Err(error) => {
            return Fault::cut(at..end.max(at), error.message, error.help.unwrap_or_default());
        }
    };
    if length.subsec_nanos() != 0 || length.is_zero() {
        return Fault::cut(
            at..end,
            format!("a window of `{text}` is not possible"),
            "windows are whole seconds, at least 1s: samples are kept per second",
        );
    }
    Ok(Some(At { value: kind(length), range: start..end }))
}

fn operand(input: &mut Input<'_>) -> Parsed<WrittenOperand> {
    let start = input.current_token_start();
    let digits = number_text(input)?;
    if digits.is_empty() {
        return figure_or_baseline(input, 1.0);
    }
    let Some(value) = signed(digits) else {
        let message = format!("`{}` is not a number", shown(digits));
        return Fault::cut(start..start + digits.len(), message, "as in `0.95` or `1e6`");
    };
    spaces(input)?;
    if opt_literal(input, "*")?.is_some() {
        spaces(input)?;
        return figure_or_baseline(input, value);
    }
    let at = input.current_token_start();
    let text: &str = &input[..];
    let length =
        text.find(|c: char| !(c.is_alphabetic() || "%/µ".contains(c))).unwrap_or(text.len());
    let unit = &text[..length];
    if unit.is_empty() || matches!(unit, "and" | "or" | "over" | "each" | "after") {
        return Ok(WrittenOperand::Number { value, unit: None });
    }
    let unit = At { value: unit.to_owned(), range: at..at + length };
    literal(unit.value.as_str()).parse_next(input)?;
    Ok(WrittenOperand::Number { value, unit: Some(unit) })
}

/// The text of a number, with its sign and exponent; empty if none is there.
pub(in crate::plan) fn number_text<'a>(input: &mut Input<'a>) -> Parsed<&'a str> {
    let text: &'a str = input.as_ref();
    let digits = |from: usize| {
        let rest = &text[from..];
        let is_digit = |c: char| c.is_ascii_digit() || c == '.' || c == '_';
        from + rest.find(|c: char| !is_digit(c)).unwrap_or(rest.len())
    };
    let sign = usize::from(text.starts_with('-'));
    let mut end = digits(sign);
    if end == sign {
        end = 0;
    } else if text[end..].starts_with(['e', 'E']) {
        let exponent = end + 1 + usize::from(text[end + 1..].starts_with(['+', '-']));
        if digits(exponent) > exponent {
            end = digits(exponent);
        }
    }
    if end > 0 {
        literal(&text[..end]).parse_next(input)?;
    }
    Ok(&text[..end])
}

fn figure_or_baseline(input: &mut Input<'_>, factor: f64) -> Parsed<WrittenOperand> {
    let word = next_word(input);
    if word.value == "baseline" {
        take_word(input)?;
        return Ok(WrittenOperand::Baseline { factor });
    }
    if word.value.is_empty() {
        let range = rest(input);
        return Fault::cut(
            range.start..range.end.min(range.start + 1),
            "there is nothing to compare with",
            "write a number with its unit, as in `200ms`, or a figure, as in `2 * p(50)`",
        );
    }
    let figure = figure(input)?;
    let window = window(input)?;
    Ok(WrittenOperand::Figure { factor, figure, window })
}

/// `(metric ".")? aggregate selector?`
pub(in crate::plan) fn figure(input: &mut Input<'_>) -> Parsed<Figure> {
    let word = next_word(input);
    let metric = if input[word.value.len()..].starts_with('.') {
        take_word(input)?;
        opt_literal(input, ".")?;
        Some(word)
    } else {
        None
    };
    let aggregate = aggregate(input)?;
    let selector = if input.starts_with('{') { Some(selector(input)?) } else { None };
    Ok(Figure { metric, aggregate, selector })
}

/// `metric ("." aggregate)? selector?`, and nothing behind it.
pub(super) fn named(text: &str) -> Result<super::FigureName, Fault> {
    let help = "write it as in a formula: `bus_request_duration.p(99){op:user_stats}`";
    if text.len() > LONGEST {
        return Err(Fault::new(0..0, format!("{} bytes are too long for it", text.len()), help));
    }
    let whole = |input: &mut Input<'_>| -> Parsed<super::FigureName> {
        let metric = take_word(input)?;
        if metric.value.is_empty() {
            return Fault::cut(rest(input), "a metric is missing", help);
        }
        let dot = opt_literal(input, ".")?;
        let aggregate = dot.map(|_| aggregate(input)).transpose()?.map(|it| it.value);
        let selector =
            if input.starts_with('{') { selector(input)?.value } else { Selector::default() };
        if !input.is_empty() {
            let message = format!("`{}` does not belong here", shown(&input[..]));
            return Fault::cut(rest(input), message, help);
        }
        Ok(super::FigureName { metric: metric.value, aggregate, selector })
    };
    whole(&mut Input::new(text)).map_err(|error| {
        error.into_inner().unwrap_or_else(|_| Fault::new(0..text.len(), "it is cut off", help))
    })
}

/// `{tag:value,tag:value}`
pub(in crate::plan) fn selector(input: &mut Input<'_>) -> Parsed<At<Selector>> {
    let help = "write it as `{op:user_stats}` or `{scenario:steady,stage:peak}`";
    let start = input.current_token_start();
    if opt_literal(input, "{")?.is_none() {
        return Fault::cut(rest(input), "`{` is missing", help);
    }
    let inside: &str = take_while(0.., |c: char| c != '{' && c != '}').parse_next(input)?;
    let end = start + 1 + inside.len();
    if opt_literal(input, "}")?.is_none() {
        return Fault::cut(start..end, "`{` without `}`", help);
    }
    let mut tags = BTreeMap::new();
    let mut at = start + 1;
    for pair in inside.split(',') {
        let range = at..at + pair.len();
        at = range.end + 1;
        let (key, value) = pair.split_once(':').unwrap_or((pair, ""));
        let (key, value) = (key.trim(), value.trim());
        if key.is_empty() || value.is_empty() || pair.contains(char::is_control) {
            let message = format!("`{}` is not a tag and its value", shown(pair));
            return Fault::cut(range.start..range.end.max(range.start + 1), message, help);
        }
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Fault::cut(range, format!("the tag `{}` is named twice", shown(key)), help);
        }
    }
    Ok(At { value: Selector(tags), range: start..end + 1 })
}

pub(in crate::plan) fn spaces(input: &mut Input<'_>) -> Parsed<()> {
    take_while(0.., char::is_whitespace).void().parse_next(input)
}

/// Takes this text if it is next.
pub(in crate::plan) fn opt_literal<'a>(
    input: &mut Input<'a>,
    text: &'static str,
) -> Parsed<Option<&'a str>> {
    opt(literal(text)).parse_next(input)
}

/// The word that is next, without taking it; empty if there is none.
pub(in crate::plan) fn next_word(input: &Input<'_>) -> At<String> {
    let mut ahead = *input;
    take_word(&mut ahead).unwrap_or(At { value: String::new(), range: rest(input) })
}

fn take_word(input: &mut Input<'_>) -> Parsed<At<String>> {
    let at = input.current_token_start();
    let word: &str =
        take_while(0.., |c: char| c.is_alphanumeric() || c == '_').parse_next(input)?;
    Ok(At { value: word.to_owned(), range: at..at + word.len() })
}

/// What has not been taken yet.
pub(in crate::plan) fn rest(input: &Input<'_>) -> Range<usize> {
    let at = input.current_token_start();
    at..at + input.len()
}
