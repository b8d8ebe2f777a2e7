//! Reading a request's JSON object field by field, so that what is wrong is
//! told by its name. Fields that are not asked for are ignored.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::api::error::ApiError;

/// A JSON object on its way into a request.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    /// For nested objects: `tty.` and the like, so that errors name the whole path.
    prefix: String,
    map: Map<String, Value>,
}

type Result<T> = std::result::Result<T, ApiError>;

impl Fields {
    /// From a body. An empty one is an object without fields.
    pub(crate) fn parse(body: &Bytes) -> Result<Self> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(map)) => Ok(Self { prefix: String::new(), map }),
            Ok(other) => {
                let kind = kind(&other);
                Err(ApiError::invalid(
                    "body",
                    format!("the body must be a JSON object, not {kind}"),
                ))
            }
            Err(cause) => {
                Err(ApiError::invalid("body", format!("the body is not valid JSON: {cause}")))
            }
        }
    }

    /// Whether the field is there and not null.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(|value| !value.is_null())
    }

    /// Text without a NUL: all of it goes to calls that end a string there.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => self.no_nul(name, text).map(Some),
            Some(other) => Err(self.wrong(name, "a string", &other)),
        }
    }

    /// Text that may hold anything, such as what goes to stdin.
    pub(crate) fn raw_text(&mut self, name: &str) -> Result<Option<String>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, "a string", &other)),
        }
    }

    /// true or false.
    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(self.wrong(name, "true or false", &other)),
        }
    }

    /// A whole number from 0.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<u64>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.as_u64() {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(name, "a whole number, 0 or more", &value)),
        }
    }

    /// A whole number in a range.
    pub(crate) fn number_in(&mut self, name: &str, min: u32, max: u32) -> Result<Option<u32>> {
        let Some(number) = self.number(name)? else { return Ok(None) };
        match u32::try_from(number) {
            Ok(number) if (min..=max).contains(&number) => Ok(Some(number)),
            _ => Err(self.invalid(name, format!("must be {min} to {max}, not {number}"))),
        }
    }

    /// A whole number in a range that may be negative.
    pub(crate) fn integer_in(&mut self, name: &str, min: i32, max: i32) -> Result<Option<i32>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let Some(number) = value.as_i64() else {
            return Err(self.wrong(name, "a whole number", &value));
        };
        match i32::try_from(number) {
            Ok(number) if (min..=max).contains(&number) => Ok(Some(number)),
            _ => Err(self.invalid(name, format!("must be {min} to {max}, not {number}"))),
        }
    }

    /// A number above 0, with or without a fraction.
    pub(crate) fn positive(&mut self, name: &str) -> Result<Option<f64>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.as_f64() {
            Some(number) if number > 0.0 => Ok(Some(number)),
            Some(_) => Err(self.invalid(name, "must be more than 0")),
            None => Err(self.wrong(name, "a number", &value)),
        }
    }

    /// The names of the fields that are left.
    pub(crate) fn names(&self) -> Vec<String> {
        self.map.keys().cloned().collect()
    }

    /// An array of strings without NULs.
    pub(crate) fn texts(&mut self, name: &str) -> Result<Option<Vec<String>>> {
        let items = match self.take(name) {
            None => return Ok(None),
            Some(Value::Array(items)) => items,
            Some(other) => return Err(self.wrong(name, "an array of strings", &other)),
        };
        let mut texts = Vec::with_capacity(items.len());
        for (at, item) in items.into_iter().enumerate() {
            let name = format!("{name}[{at}]");
            match item {
                Value::String(text) => texts.push(self.no_nul(&name, text)?),
                other => return Err(self.wrong(&name, "a string", &other)),
            }
        }
        Ok(Some(texts))
    }

    /// An environment: an object of strings. Numbers and booleans are taken as
    /// their text, since that is what people mean by them.
    pub(crate) fn environment(&mut self, name: &str) -> Result<Vec<(String, String)>> {
        let map = match self.take(name) {
            None => return Ok(Vec::new()),
            Some(Value::Object(map)) => map,
            Some(other) => return Err(self.wrong(name, "an object of strings", &other)),
        };
        let mut pairs = Vec::with_capacity(map.len());
        for (key, value) in map {
            let full = format!("{name}.{key}");
            if key.is_empty() || key.contains(['=', '\0']) {
                let message = "the name of a variable cannot be empty or hold `=` or NUL";
                return Err(self.invalid(name, message));
            }
            let value = match value {
                Value::String(text) => self.no_nul(&full, text)?,
                Value::Number(number) => number.to_string(),
                Value::Bool(flag) => flag.to_string(),
                other => return Err(self.wrong(&full, "a string", &other)),
            };
            pairs.push((key, value));
        }
        Ok(pairs)
    }

    /// A nested object.
    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Self>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(self.nested(name, map))),
            Some(other) => Err(self.wrong(name, "an object", &other)),
        }
    }

    /// An object that was taken from this one under `name`.
    pub(crate) fn nested(&self, name: &str, map: Map<String, Value>) -> Self {
        Self { prefix: format!("{}{name}.", self.prefix), map }
    }

    /// Any value.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|value| !value.is_null())
    }

    /// An error that names the field with its path.
    pub(crate) fn invalid(&self, name: &str, message: impl std::fmt::Display) -> ApiError {
        let field = format!("{}{name}", self.prefix);
        ApiError::invalid(&field, format!("{field}: {message}"))
    }

    /// An error about a value of the wrong kind.
    pub(crate) fn wrong(&self, name: &str, wanted: &str, got: &Value) -> ApiError {
        self.invalid(name, format!("must be {wanted}, not {}", kind(got)))
    }

    fn no_nul(&self, name: &str, text: String) -> Result<String> {
        if text.contains('\0') {
            return Err(self.invalid(name, "must not hold a NUL byte"));
        }
        Ok(text)
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_u64() => "a number",
        Value::Number(number) if number.is_i64() => "a negative number",
        Value::Number(_) => "a number with a fraction, or one too large",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &'static str) -> Fields {
        Fields::parse(&Bytes::from_static(json.as_bytes())).unwrap()
    }

    fn field_of<T: std::fmt::Debug>(result: Result<T>) -> String {
        result.unwrap_err().field.unwrap()
    }

    #[test]
    fn absent_null_and_empty_are_the_same() {
        assert_eq!(fields("").text("cwd").unwrap(), None);
        assert_eq!(fields(" \n").text("cwd").unwrap(), None);
        assert_eq!(fields("{}").number("n").unwrap(), None);
        assert_eq!(fields(r#"{"cwd":null}"#).text("cwd").unwrap(), None);
        assert!(fields(r#"{"env":null}"#).environment("env").unwrap().is_empty());
    }

    #[test]
    fn wrong_types_name_the_field() {
        assert_eq!(field_of(fields(r#"{"cwd":5}"#).text("cwd")), "cwd");
        assert_eq!(field_of(fields(r#"{"n":-1}"#).number("n")), "n");
        assert_eq!(field_of(fields(r#"{"n":1.5}"#).number("n")), "n");
        assert_eq!(field_of(fields(r#"{"n":"1"}"#).number("n")), "n");
        assert_eq!(field_of(fields(r#"{"n":99}"#).number_in("n", 1, 64)), "n");
        assert_eq!(field_of(fields(r#"{"b":"yes"}"#).flag("b")), "b");
        assert_eq!(field_of(fields(r#"{"argv":["a",1]}"#).texts("argv")), "argv[1]");
        assert_eq!(field_of(fields(r#"{"env":{"A":[]}}"#).environment("env")), "env.A");
        let mut tty = fields(r#"{"tty":{"rows":"x"}}"#).object("tty").unwrap().unwrap();
        assert_eq!(field_of(tty.number("rows")), "tty.rows");
    }

    #[test]
    fn numbers_of_other_kinds() {
        assert_eq!(fields(r#"{"n":-20}"#).integer_in("n", -20, 19).unwrap(), Some(-20));
        for json in [r#"{"n":20}"#, r#"{"n":0.5}"#, r#"{"n":"1"}"#, r#"{"n":1e30}"#] {
            assert_eq!(field_of(fields(json).integer_in("n", -20, 19)), "n", "{json}");
        }
        assert_eq!(fields(r#"{"n":0.5}"#).positive("n").unwrap(), Some(0.5));
        for json in [r#"{"n":0}"#, r#"{"n":-0.5}"#, r#"{"n":true}"#] {
            assert_eq!(field_of(fields(json).positive("n")), "n", "{json}");
        }
    }

    #[test]
    fn bodies_that_are_no_object() {
        for body in ["[]", "1", "nul", "{", "{\"a\":1}x"] {
            assert_eq!(field_of(Fields::parse(&Bytes::from(body))), "body", "{body}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(field_of(Fields::parse(&Bytes::from(deep))), "body");
    }

    #[test]
    fn nul_is_refused_where_it_would_cut() {
        assert_eq!(field_of(fields(r#"{"command":"a\u0000b"}"#).text("command")), "command");
        assert_eq!(field_of(fields(r#"{"argv":["a\u0000"]}"#).texts("argv")), "argv[0]");
        assert_eq!(field_of(fields(r#"{"env":{"A":"\u0000"}}"#).environment("env")), "env.A");
        assert_eq!(field_of(fields(r#"{"env":{"A=B":""}}"#).environment("env")), "env");
        assert_eq!(fields(r#"{"stdin":"\u0000"}"#).raw_text("stdin").unwrap().unwrap(), "\0");
    }

    #[test]
    fn environments_take_scalars() {
        let mut pairs = fields(r#"{"env":{"A":1,"B":true,"C":""}}"#).environment("env").unwrap();
        pairs.sort();
        let wanted = [("A", "1"), ("B", "true"), ("C", "")];
        assert_eq!(pairs, wanted.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }
}
