//! Pooling rules.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::route::Source;
use super::text::{CodePoint, HopsToShare, PortRange, Protocol, deserialize_optional_prefix};

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
    pub from: Option<IpNet>,
    /// Destination addresses.
    #[serde(default, deserialize_with = "deserialize_optional_prefix", skip_serializing_if = "Option::is_none")]
    pub to: Option<IpNet>,
    /// Differentiated services code point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dscp: Option<CodePoint>,
}

/// What becomes of a packet that no other joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LonePacket {
    /// It leaves as itself.
    Itself,
    /// It leaves in a pooled packet with one row.
    Pooled,
}

/// How a rule's packets travel inside a pooled packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PacketRepresentation {
    /// As they are.
    Whole,
    /// Without the headers that the far end was told of on the way.
    Learned,
    /// Without the headers of streams that both ends were told of.
    Provisioned,
}

/// Where the index of a rule's pooled packets is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IndexPlace {
    /// In front of their data.
    InBand,
    /// In packets of its own.
    OutOfBand,
    /// Nowhere: both ends know the lengths.
    Predetermined,
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
    /// False: they are never pooled, and nothing below but `position` is given.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub pool: bool,
    /// The longest packet it pools, in bytes of IP length. A longer one is not pooled, by this rule or another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size_bytes: Option<u16>,
    /// The longest time a packet waits for company, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_us: Option<u64>,
    /// The most packets in one pooled packet, 2 to 255; as many as fit where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_count: Option<u8>,
    /// A pool that holds fewer when its window ends waits on until it holds so many, 2 to 255.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required_count: Option<u8>,
    /// The longest time that it waits for them, from its first packet on, in microseconds; ten windows where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_us: Option<u64>,
    /// A packet leaves at once where no company is to be expected within the window.
    #[serde(default, skip_serializing_if = "is_false")]
    pub adaptive: bool,
    /// How much of their ways packets must share; the whole path where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_hops: Option<HopsToShare>,
    /// The longest pooled packet, in bytes of IP length; what the path takes where missing, and never more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_mtu: Option<u16>,
    /// What becomes of a packet that no other joined; it leaves as itself where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lone: Option<LonePacket>,
    /// How its packets travel; as they are where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub representation: Option<PacketRepresentation>,
    /// Where the index of its pooled packets is; in front of their data where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<IndexPlace>,
    /// The id of the template that lists the lengths of predetermined packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<u8>,
    /// Where it goes: 0 is before all others; after all others where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
}

impl RuleAdd {
    /// A rule for all packets that says nothing yet, to be filled in.
    pub fn new(name: String) -> RuleAdd {
        RuleAdd {
            name,
            matches: RuleMatch::default(),
            pool: true,
            max_size_bytes: None,
            window_us: None,
            max_count: None,
            required_count: None,
            hold_us: None,
            adaptive: false,
            shared_hops: None,
            path_mtu: None,
            lone: None,
            representation: None,
            index: None,
            template: None,
            position: None,
        }
    }
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_true(value: &bool) -> bool {
    *value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_false(value: &bool) -> bool {
    !*value
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
    /// Whether its packets are pooled at all; if not, nothing below but `source` is there.
    pub pool: bool,
    /// The longest packet it pools, in bytes of IP length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size_bytes: Option<u16>,
    /// The longest time a packet waits for company, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_us: Option<u64>,
    /// The most packets in one pooled packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_count: Option<u8>,
    /// A pool waits until it holds so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required_count: Option<u8>,
    /// The longest time that it waits for them, from its first packet on, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_us: Option<u64>,
    /// Whether a packet leaves at once where no company is to be expected within the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptive: Option<bool>,
    /// How much of their ways packets must share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_hops: Option<HopsToShare>,
    /// The longest pooled packet, in bytes of IP length; missing: what the path takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_mtu: Option<u16>,
    /// What becomes of a packet that no other joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lone: Option<LonePacket>,
    /// How its packets travel, where their addressee takes that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub representation: Option<PacketRepresentation>,
    /// Where the index of its pooled packets is, where their addressee takes that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<IndexPlace>,
    /// The id of the template that lists the lengths of predetermined packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<u8>,
    /// Who put it there.
    pub source: Source,
}

/// Reply to `rule_show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleList {
    /// The rules in order of position.
    pub rules: Vec<RuleEntry>,
}
