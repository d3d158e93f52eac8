//! Pooling rules.

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::route::Source;
use super::text::{CodePoint, PortRange, Protocol, deserialize_optional_prefix};

/// The packets a rule is for: all that is given must fit, and what is not given fits everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleMatch {
    /// IP protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Destination ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<PortRange>,
    /// Source ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ports: Option<PortRange>,
    /// Source addresses.
    #[serde(default, deserialize_with = "deserialize_optional_prefix", skip_serializing_if = "Option::is_none")]
    pub from: Option<Ipv4Net>,
    /// Destination addresses.
    #[serde(default, deserialize_with = "deserialize_optional_prefix", skip_serializing_if = "Option::is_none")]
    pub to: Option<Ipv4Net>,
    /// Differentiated services code point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dscp: Option<CodePoint>,
}

/// `rule_add`: adds a rule; a name that is taken is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleAdd {
    /// Its name, unique among the rules.
    pub name: String,
    /// The packets it is for.
    #[serde(default, rename = "match")]
    pub matches: RuleMatch,
    /// The longest packet it pools, in bytes of IP length. A longer one is not pooled, by this rule or another.
    pub max_size_bytes: u16,
    /// The longest time a packet waits for company, in microseconds.
    pub window_us: u64,
    /// The most packets in one pooled packet, 2 to 255; as many as fit where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_count: Option<u8>,
    /// Where it goes: 0 is before all others; after all others where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
}

/// `rule_del`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleDel {
    /// The rule's name.
    pub name: String,
}

/// `rule_show`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleShow {}

/// A rule as the router has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleEntry {
    /// Its place: of the rules that fit a packet the one with the lowest position decides.
    pub position: u32,
    /// Its name.
    pub name: String,
    /// The packets it is for.
    #[serde(rename = "match")]
    pub matches: RuleMatch,
    /// The longest packet it pools, in bytes of IP length.
    pub max_size_bytes: u16,
    /// The longest time a packet waits for company, in microseconds.
    pub window_us: u64,
    /// The most packets in one pooled packet.
    pub max_count: u8,
    /// Who put it there.
    pub source: Source,
}

/// Reply to `rule_show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleList {
    /// The rules in order of position.
    pub rules: Vec<RuleEntry>,
}
