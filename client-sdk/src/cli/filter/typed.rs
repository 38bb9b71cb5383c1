//! A filter as somebody typed it: an expression, JSON, or an event as an example.

use std::io::Read;
use std::path::Path;

use super::super::exit::{self, Exit, Failure};
use super::super::input;
use crate::protocol::filter::{Dialect, DocumentError, Filter, FilterError, is_document};
use crate::protocol::limits::FILTER_DOCUMENT_BYTES_MAX;

#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct TypedFilter<'a> {
    pub(in crate::cli) text: &'a str,
    /// A file with an example, which is then the filter.
    pub(in crate::cli) like: Option<&'a Path>,
}

/// What is no filter, and why.
#[derive(Debug)]
pub(in crate::cli) struct BadFilter {
    pub(super) message: String,
    pub(super) column: Option<usize>,
    pub(super) suggestion: Option<String>,
    /// The line in question, and one with a caret.
    pub(super) pointer: Option<String>,
}

/// Compiles what was typed. The outer error says that it could not be read.
pub(in crate::cli) async fn read(
    typed: TypedFilter<'_>,
    dialect: Dialect,
) -> Result<Result<Filter, BadFilter>, Failure> {
    match typed.like {
        Some(path) => Ok(Filter::from_example(&example(path).await?).map_err(BadFilter::from)),
        None => Ok(compile(typed.text, dialect)),
    }
}

fn compile(text: &str, dialect: Dialect) -> Result<Filter, BadFilter> {
    if is_document(text) {
        Ok(Filter::from_document(text, dialect)?)
    } else {
        Filter::compile_in(dialect, text).map_err(|error| BadFilter::new(&error, text))
    }
}

/// Reads no more than is needed to know that it is too long.
async fn example(path: &Path) -> Result<String, Failure> {
    let source = input::source(path)?;
    let read = move || {
        let mut text = String::new();
        source.take(FILTER_DOCUMENT_BYTES_MAX as u64 + 1).read_to_string(&mut text).map(|_| text)
    };
    let failed = |reason: String| {
        Failure::new(Exit::Failed, format!("{}: {reason}", path.display()), "name a file with one event in JSON")
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(error) => Err(failed(error.to_string())),
    }
}

impl BadFilter {
    fn new(error: &FilterError, text: &str) -> Self {
        Self {
            message: error.to_string(),
            column: Some(error.column()),
            suggestion: error.suggestion().map(str::to_owned),
            pointer: Some(error.pointer(text)),
        }
    }

    pub(in crate::cli) fn into_failure(self, next: &str) -> Failure {
        let mut text = format!("not a filter: {}", self.message);
        for line in self.pointer.iter().flat_map(|pointer| pointer.split('\n')) {
            text.push_str("\n    ");
            text.push_str(line);
        }
        exit::bad_filter(text, next)
    }
}

impl From<DocumentError> for BadFilter {
    fn from(error: DocumentError) -> Self {
        Self { message: error.to_string(), column: None, suggestion: None, pointer: error.pointer() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_like_json_is_json() {
        let text = |typed| compile(typed, Dialect::Extended).expect("valid").text().to_owned();
        assert_eq!(text("type = 'x'"), "type = 'x'");
        assert_eq!(text(" {\"exact\": {\"type\": \"x\"}}"), "type = 'x'");
        assert_eq!(text("[]"), "");
        assert!(compile("data.mag > 1", Dialect::Strict).is_err());
    }

    #[test]
    fn a_wrong_filter_is_shown_with_a_caret_below_the_place() {
        let failure = compile("type LIEK 'a%'", Dialect::Extended).expect_err("wrong").into_failure("next");
        assert_eq!(failure.exit(), Exit::Refused);
        assert_eq!(
            failure.text(),
            "not a filter: column 6: expected an operator or the end of the filter, found LIEK (did you mean LIKE?)\n    \
             type LIEK 'a%'\n         ^"
        );
        let failure = compile(r#"{"not": {"sql": "id == 1"}}"#, Dialect::Extended).expect_err("wrong").into_failure("");
        assert!(failure.text().ends_with("\n    id == 1\n       ^"), "{}", failure.text());
    }

    #[tokio::test]
    async fn an_example_is_read_from_its_file() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("event.json");
        std::fs::write(&path, "{\n  \"type\": \"x\"\n}\n").expect("write");
        let typed = |like| TypedFilter { text: "", like };
        let filter = read(typed(Some(&*path)), Dialect::Extended).await.expect("readable").expect("valid");
        assert_eq!(filter.text(), "type = 'x'");
        std::fs::write(&path, " ".repeat(FILTER_DOCUMENT_BYTES_MAX + 10)).expect("write");
        let too_long = read(typed(Some(&*path)), Dialect::Extended).await.expect("readable").expect_err("too long");
        assert!(too_long.message.contains("at most 65536 are allowed"), "{}", too_long.message);
        assert!(read(typed(Some(folder.path())), Dialect::Extended).await.is_err());
    }
}
