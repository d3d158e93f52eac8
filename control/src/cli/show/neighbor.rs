//! Hosts and routers on our links.

use super::{short_time, show, word};
use crate::api::neighbor::NeighborList;
use crate::cli::table::{Align, Table, cell};

show!(NeighborList, text);

fn text(list: &NeighborList) -> String {
    let mut table = Table::new(&[
        ("address", Align::Left),
        ("mac", Align::Left),
        ("port", Align::Left),
        ("state", Align::Left),
        ("age", Align::Right),
    ]);
    for neighbor in &list.neighbors {
        let (state, age) = if neighbor.is_static {
            ("static".to_owned(), String::new())
        } else {
            (word(&neighbor.state), short_time(neighbor.age_ms))
        };
        table.row([neighbor.address.to_string(), cell(neighbor.mac), neighbor.port.clone(), state, age]);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::neighbor::{NeighborEntry, NeighborState};
    use crate::api::text::MacAddress;
    use crate::cli::show::Show;

    #[test]
    fn neighbors_show_as_a_table() {
        let neighbor = |last, mac, state, age_ms, is_static| NeighborEntry {
            address: [192, 0, 2, last].into(),
            mac,
            port: "p0".to_owned(),
            state,
            age_ms,
            is_static,
        };
        let mac = Some(MacAddress([2, 0, 0, 0, 0, 2]));
        let neighbors = vec![
            neighbor(2, mac, NeighborState::Reachable, 12_340, false),
            neighbor(3, None, NeighborState::Incomplete, 40, false),
            neighbor(40, mac, NeighborState::Reachable, 7, true),
        ];
        assert_eq!(
            NeighborList { total: 3, offset: 0, neighbors }.text(),
            "\
address     mac                port  state          age
192.0.2.2   02:00:00:00:00:02  p0    reachable   12.3 s
192.0.2.3   -                  p0    incomplete   40 ms
192.0.2.40  02:00:00:00:00:02  p0    static           -
"
        );
    }
}
