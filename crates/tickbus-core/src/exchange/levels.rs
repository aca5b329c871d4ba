//! The levels of an order book message, from the arrays venues send them in.

use super::depth::DepthLevel;
use super::json::{BAD_FIELD, Fault, Value, elements};
use super::number::exact;

/// Append a level for every row `[price, size, ...]` of the array; `more` gets what else stands in
/// a row.
#[inline]
pub fn read<'a>(
    rows: Value<'a>,
    levels: &mut Vec<DepthLevel>,
    mut more: impl FnMut(Value<'a>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    elements(rows, |row| {
        let (mut price, mut size, mut at) = (None, None, 0);
        elements(row, |cell| {
            match at {
                0 => price = Some(exact(Some(cell))?),
                1 => size = Some(exact(Some(cell))?),
                _ => more(cell)?,
            }
            at += 1;
            Ok(())
        })?;
        let (Some(price), Some(size)) = (price, size) else {
            return Err(BAD_FIELD);
        };
        levels.push(DepthLevel { price, size });
        Ok(())
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::depth::Exact;
    use super::super::json::{NOT_JSON, tests::of};
    use super::super::number::{BAD_NUMBER, TOO_MANY_DIGITS};
    use super::*;

    fn levels(text: &str) -> Result<Vec<DepthLevel>, Fault> {
        of(text, |raw| {
            let mut found = Vec::new();
            read(raw.unwrap(), &mut found, |_| Ok(()))?;
            Ok(found)
        })
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
            ("[[]]", BAD_FIELD),
            ("[[\"1\"]]", BAD_FIELD),
            ("[[null,\"1\"]]", BAD_NUMBER),
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
