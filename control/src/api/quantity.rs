//! Sizes and times with their units, as operators write them: `300B`, `2ms`.
//!
//! A time needs its unit, since 2 could be anything; a size without one is in bytes.

/// Reads a size: `300B`, `300`, `9kB` (1000 bytes), `1KiB` (1024 bytes). In bytes.
///
/// # Errors
/// Says what was expected.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let factor = match unit {
        "" | "B" => Some(1),
        "kB" => Some(1000),
        "KiB" => Some(1024),
        "MB" => Some(1_000_000),
        "MiB" => Some(1 << 20),
        _ => None,
    };
    factor
        .and_then(|factor| scaled(number, factor))
        .ok_or_else(|| format!("{text:?}: expected a size in whole bytes such as 300B or 1.5kB"))
}

/// Reads a time: `500us` (or `500µs`), `2ms`, `1.5s`. In microseconds.
///
/// # Errors
/// Says what was expected; a number without a unit is an error.
pub fn parse_microseconds(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let factor = match unit {
        "us" | "µs" | "μs" => Some(1),
        "ms" => Some(1000),
        "s" => Some(1_000_000),
        "" if scaled(number, 1).is_some() => return Err(format!("{text:?}: a time needs its unit: us, ms or s")),
        _ => None,
    };
    factor
        .and_then(|factor| scaled(number, factor))
        .ok_or_else(|| format!("{text:?}: expected a time in whole microseconds such as 500us, 2ms or 1s"))
}

/// A time as [`parse_microseconds`] reads it, in the largest unit that needs no fraction.
pub fn format_microseconds(microseconds: u64) -> String {
    match microseconds {
        0 => "0us".to_owned(),
        time if time.is_multiple_of(1_000_000) => format!("{}s", time / 1_000_000),
        time if time.is_multiple_of(1000) => format!("{}ms", time / 1000),
        time => format!("{time}us"),
    }
}

/// The number at the start of `text`, and what follows it.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// A decimal number times `factor`, where that is a whole number below 2⁶⁴.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || (number.contains('.') && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let mut value = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    let mut place = factor;
    for digit in fraction.bytes() {
        let digit = u64::from(digit.checked_sub(b'0')?);
        if digit != 0 && !place.is_multiple_of(10) {
            return None;
        }
        place /= 10;
        value = value.checked_add(digit.checked_mul(place)?)?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(parse_bytes("300B"), Ok(300));
        assert_eq!(parse_bytes("300"), Ok(300));
        assert_eq!(parse_bytes("1.5kB"), Ok(1500));
        assert_eq!(parse_bytes("1KiB"), Ok(1024));
        for wrong in ["", "B", "-1", "1.", ".5kB", "1.5B", "300 B", "1.2.3kB", "99999999999999999999", "1b"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn times_need_their_units() {
        assert_eq!(parse_microseconds("500us"), Ok(500));
        assert_eq!(parse_microseconds("500µs"), Ok(500));
        assert_eq!(parse_microseconds("2ms"), Ok(2000));
        assert_eq!(parse_microseconds("1.5s"), Ok(1_500_000));
        assert_eq!(parse_microseconds("2"), Err("\"2\": a time needs its unit: us, ms or s".to_owned()));
        for wrong in ["", "ms", "0.5us", "2 ms", "1m", "-2ms", "0.0000001s"] {
            assert!(parse_microseconds(wrong).is_err(), "{wrong:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn a_printed_time_is_read_back(time: u64) {
            prop_assert_eq!(parse_microseconds(&format_microseconds(time)), Ok(time));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in "[0-9.µumsBkKiM -]{0,24}|\\PC{0,12}") {
            let _ = parse_bytes(&text);
            let _ = parse_microseconds(&text);
        }
    }
}
