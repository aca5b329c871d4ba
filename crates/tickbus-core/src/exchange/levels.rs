//! The levels of an order book message, from the arrays venues send them in, in one pass.

use super::depth::DepthLevel;
use super::json::{BAD_FIELD, Fault};
use super::number::{exact, exact_text};
use super::scan::Scanner;

/// Append a level for every row `[price, size, ...]` of the array `text`; `more` gets what else
/// stands in a row.
pub fn read<'a>(
    text: &'a str,
    levels: &mut Vec<DepthLevel>,
    mut more: impl FnMut(&'a str) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut scanner = Scanner::new(text);
    scanner.open(b'[')?;
    let mut goes_on = !scanner.closes(b']');
    while goes_on {
        scanner.open(b'[')?;
        let price = number(&mut scanner)?;
        if !scanner.goes_on(b']')? {
            return Err(BAD_FIELD);
        }
        let size = number(&mut scanner)?;
        while scanner.goes_on(b']')? {
            more(scanner.value()?)?;
        }
        levels.push(DepthLevel { price, size });
        goes_on = scanner.goes_on(b']')?;
    }
    scanner.end()
}

fn number(scanner: &mut Scanner) -> Result<super::depth::Exact, Fault> {
    match scanner.plain_text() {
        Some(text) => exact_text(text),
        None => match scanner.value()? {
            "null" => Err(BAD_FIELD),
            other => exact(Some(other)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::depth::Exact;
    use super::super::json::NOT_JSON;
    use super::super::number::{BAD_NUMBER, TOO_MANY_DIGITS};
    use super::*;

    fn levels(text: &str) -> Result<Vec<DepthLevel>, Fault> {
        let mut found = Vec::new();
        read(text, &mut found, |_| Ok(()))?;
        Ok(found)
    }

    #[test]
    fn rows_of_text_or_numbers() {
        let expected = vec![
            DepthLevel {
                price: Exact { units: 1050, scale: 2 },
                size: Exact { units: 3, scale: 0 },
            },
            DepthLevel { price: Exact { units: 9, scale: 0 }, size: Exact { units: 0, scale: 1 } },
        ];
        assert_eq!(levels(r#"[["10.50","3","0","7"],["9","0.0"]]"#), Ok(expected.clone()));
        assert_eq!(levels(" [ [ 10.50 , 3 , null ] , [ \"9\" , 0.0 ] ] "), Ok(expected));
        assert_eq!(levels("[]"), Ok(vec![]));
    }

    #[test]
    fn what_is_no_row_is_named() {
        for (text, fault) in [
            ("{}", BAD_FIELD),
            ("[5]", BAD_FIELD),
            ("[[]]", NOT_JSON),
            ("[[\"1\"]]", BAD_FIELD),
            ("[[null,\"1\"]]", BAD_FIELD),
            ("[[\"NaN\",\"1\"]]", BAD_NUMBER),
            ("[[\"-1\",\"1\"]]", BAD_NUMBER),
            ("[[[1],\"1\"]]", BAD_NUMBER),
            ("[[\"1\\u0031\",\"1\"]]", BAD_NUMBER),
            ("[[1e999,1]]", TOO_MANY_DIGITS),
            ("[[\"1\",\"2\"]", NOT_JSON),
        ] {
            assert_eq!(levels(text), Err(fault), "{text}");
        }
    }
}
