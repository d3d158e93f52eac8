//! The table for people, made from the figures.

use crate::fib::figure::Figure;

/// Units of the figures.
pub const OFFERED: &str = "stream packets/s";
pub const LOST: &str = "% lost";
pub const PACKETS: &str = "packets/s";
pub const SHARE: &str = "% of a CPU";
pub const EACH: &str = "ns/stream packet";
pub const BITS: &str = "Mbit/s";
pub const RATE: &str = "M stream packets/s";

/// What is asked for a size, under its name in the figures.
pub fn case(what: &str, size: u16) -> String {
    format!("{what}_{size}")
}

/// The unit of a ratio of two figures of this unit, where they are compared.
pub fn ratio_of(unit: &str) -> Option<&'static str> {
    match unit {
        PACKETS => Some("ratio of packets"),
        SHARE => Some("ratio of CPU time"),
        EACH => Some("ratio of CPU time per stream packet"),
        BITS => Some("ratio of bits"),
        RATE => Some("ratio"),
        _ => None,
    }
}

/// A column: its heading, case, unit and digits.
const COLUMNS: [(&str, &str, &str, usize); 7] = [
    ("packets/s", "steady", PACKETS, 0),
    ("CPU, %", "steady", SHARE, 2),
    ("ns each", "steady", EACH, 0),
    ("Mbit/s", "steady", BITS, 1),
    ("limit, M/s", "limit", RATE, 2),
    ("plateau, M/s", "plateau", RATE, 2),
    ("ns each", "plateau", EACH, 0),
];
/// Widths of the names and of the columns.
const NAMES: usize = 7;
const CONTENDERS: usize = 9;
const COLUMN: usize = 23;

/// All that was measured: at so many stream packets a second, then at the limit.
pub fn text(figures: &[Figure], load: u32) -> String {
    let mut lines = format!(
        "at {load} stream packets a second: packets, CPU time, CPU time for each stream packet, bits on the wire;\n\
         stream packets a second with less than 0.5% loss, and with more offered; CPU time for each then (medians, min to max)\n\n"
    );
    let mut row = |size: &str, contender: &str, cells: Vec<String>| {
        let cells: String = cells.iter().map(|cell| format!("{cell:>COLUMN$}")).collect();
        lines.push_str(format!("{size:<NAMES$}{contender:<CONTENDERS$}{cells}").trim_end());
        lines.push('\n');
    };
    row("size", "", COLUMNS.iter().map(|(heading, ..)| (*heading).to_owned()).collect());
    let mut sizes: Vec<&str> = Vec::new();
    for size in figures.iter().filter_map(|figure| figure.case.strip_prefix("steady_")) {
        if !sizes.contains(&size) {
            sizes.push(size);
        }
    }
    for size in sizes {
        for (number, contender) in [super::UNPOOLED, super::POOLED].into_iter().enumerate() {
            let cells = COLUMNS.iter().map(|(_, what, unit, digits)| {
                let of = |figure: &&Figure| {
                    figure.case == format!("{what}_{size}") && figure.contender == contender && figure.unit == *unit
                };
                figures.iter().find(of).map_or("-".into(), |figure| {
                    let Figure { value, min, max, .. } = figure;
                    format!("{value:.digits$} ({min:.digits$}-{max:.digits$})")
                })
            });
            row(&if number == 0 { format!("{size} B") } else { String::new() }, contender, cells.collect());
        }
        let cells = COLUMNS.iter().map(|(_, what, unit, _)| {
            let of = |figure: &&Figure| figure.case == format!("{what}_{size}") && Some(figure.unit) == ratio_of(unit);
            figures.iter().find(of).map_or("-".into(), |figure| format!("{:.2} x", figure.value))
        });
        row("", "saves", cells.collect());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_row_for_each_contender_and_one_for_what_is_saved() {
        let case = case("limit", 60);
        let figures = [
            Figure::new("saving", "steady_60", "unpooled", PACKETS, &[100_000.0]),
            Figure::new("saving", &case, "unpooled", RATE, &[2.0, 1.0, 3.0]),
            Figure::new("saving", &case, "pooled", RATE, &[40.0]),
            Figure::new("saving", &case, "pooled/unpooled", "ratio", &[20.0]),
        ];
        let text = text(&figures, 100_000);
        let rows: Vec<Vec<&str>> = text.lines().skip(4).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            rows[0],
            ["60", "B", "unpooled", "100000", "(100000-100000)", "-", "-", "-", "2.00", "(1.00-3.00)", "-", "-"]
        );
        assert_eq!(rows[2], ["saves", "-", "-", "-", "-", "20.00", "x", "-", "-"]);
    }
}
