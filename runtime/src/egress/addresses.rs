//! Which addresses are on the public internet: one table, one row for each range, each with its source.
//!
//! Guarantees: IPv4 is public only where no row says otherwise; IPv6 only inside 2000::/3 and outside its rows, and
//! never where it carries an IPv4 address. Rows marked `always` stay closed even where an operator opens them.
//!
//! Leaves to others: what the operator opens, and this host's own listeners (`reach`).
//!
//! Sources: IANA's special-purpose address registries for IPv4 and IPv6 and the RFC of each row; for metadata
//! services the providers' own documentation.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// One range that is not the public internet.
#[derive(PartialEq, Eq, Debug)]
pub struct Range {
    /// Its first address; an IPv4 address stands in the lowest 32 bits.
    first: u128,
    /// How many leading bits its addresses share, `width` at most.
    prefix: u8,
    /// Bits of an address: 32 for IPv4, 128 for IPv6.
    width: u8,
    /// What it is for.
    pub name: &'static str,
    /// Where that is written.
    pub source: &'static str,
    /// Whether it stays closed even where an operator opens it.
    pub always: bool,
}

impl Range {
    /// Its first address.
    pub fn first(&self) -> IpAddr {
        self.address(self.first)
    }

    /// Its last address.
    pub fn last(&self) -> IpAddr {
        self.address(
            self.first | 1u128.checked_shl(u32::from(self.width - self.prefix)).map_or(u128::MAX, |size| size - 1),
        )
    }

    fn address(&self, bits: u128) -> IpAddr {
        match u32::try_from(bits) {
            Ok(bits) if self.width == 32 => IpAddr::V4(Ipv4Addr::from_bits(bits)),
            _ => IpAddr::V6(Ipv6Addr::from_bits(bits)),
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first(), self.prefix)
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8, name: &'static str, source: &'static str) -> Range {
    Range { first: Ipv4Addr::new(a, b, c, d).to_bits() as u128, prefix, width: 32, name, source, always: false }
}

const fn v6(high: [u16; 4], low: [u16; 4], prefix: u8, name: &'static str, source: &'static str) -> Range {
    let address = Ipv6Addr::new(high[0], high[1], high[2], high[3], low[0], low[1], low[2], low[3]);
    Range { first: address.to_bits(), prefix, width: 128, name, source, always: false }
}

const fn always(range: Range) -> Range {
    Range { always: true, ..range }
}

/// IPv4. The first row that holds an address names it: narrow rows stand before wide ones.
#[rustfmt::skip]
static V4: &[Range] = &[
    always(v4(168, 63, 129, 16, 32, "Azure's platform service", "Azure: what is 168.63.129.16")),
    always(v4(100, 100, 100, 200, 32, "Alibaba Cloud's metadata service", "Alibaba ECS: instance metadata")),
    always(v4(192, 0, 0, 192, 32, "Oracle Cloud's classic metadata service", "Oracle Compute Classic: instance metadata")),
    always(v4(169, 254, 169, 254, 32, "cloud metadata", "AWS, Azure, Google Cloud and others: instance metadata")),
    always(v4(169, 254, 0, 0, 16, "link-local, where metadata services live", "RFC 3927")),
    v4(0, 0, 0, 0, 8, "this network", "RFC 791"),
    v4(10, 0, 0, 0, 8, "private use", "RFC 1918"),
    v4(100, 64, 0, 0, 10, "shared address space of providers", "RFC 6598"),
    v4(127, 0, 0, 0, 8, "loopback", "RFC 1122"),
    v4(172, 16, 0, 0, 12, "private use", "RFC 1918"),
    v4(192, 0, 0, 0, 24, "IETF protocol assignments", "RFC 6890"),
    v4(192, 0, 2, 0, 24, "documentation", "RFC 5737"),
    v4(192, 31, 196, 0, 24, "AS112", "RFC 7535"),
    v4(192, 52, 193, 0, 24, "automatic multicast tunneling", "RFC 7450"),
    v4(192, 88, 99, 0, 24, "6to4 relays", "RFC 7526"),
    v4(192, 168, 0, 0, 16, "private use", "RFC 1918"),
    v4(192, 175, 48, 0, 24, "AS112", "RFC 7534"),
    v4(198, 18, 0, 0, 15, "benchmarking", "RFC 2544"),
    v4(198, 51, 100, 0, 24, "documentation", "RFC 5737"),
    v4(203, 0, 113, 0, 24, "documentation", "RFC 5737"),
    v4(224, 0, 0, 0, 4, "multicast", "RFC 5771"),
    v4(255, 255, 255, 255, 32, "limited broadcast", "RFC 919"),
    v4(240, 0, 0, 0, 4, "reserved", "RFC 1112"),
];

/// IPv6. The rows outside 2000::/3 only name what would be refused anyway, but for those that are `always` closed.
#[rustfmt::skip]
static V6: &[Range] = &[
    v6([0, 0, 0, 0], [0, 0, 0, 0], 128, "unspecified", "RFC 4291"),
    v6([0, 0, 0, 0], [0, 0, 0, 1], 128, "loopback", "RFC 4291"),
    always(v6([0, 0, 0, 0], [0, 0xffff, 0, 0], 96, "IPv4-mapped", "RFC 4291")),
    always(v6([0, 0, 0, 0], [0xffff, 0, 0, 0], 96, "IPv4-translated", "RFC 2765")),
    always(v6([0, 0, 0, 0], [0, 0, 0, 0], 96, "IPv4-compatible", "RFC 4291")),
    always(v6([0x64, 0xff9b, 0, 0], [0, 0, 0, 0], 96, "NAT64", "RFC 6052")),
    always(v6([0x64, 0xff9b, 1, 0], [0, 0, 0, 0], 48, "local NAT64", "RFC 8215")),
    v6([0x100, 0, 0, 0], [0, 0, 0, 0], 64, "discard only", "RFC 6666"),
    v6([0x100, 0, 0, 1], [0, 0, 0, 0], 64, "dummy prefix", "RFC 9780"),
    always(v6([0x2001, 0, 0, 0], [0, 0, 0, 0], 32, "Teredo", "RFC 4380")),
    v6([0x2001, 2, 0, 0], [0, 0, 0, 0], 48, "benchmarking", "RFC 5180"),
    v6([0x2001, 3, 0, 0], [0, 0, 0, 0], 32, "automatic multicast tunneling", "RFC 7450"),
    v6([0x2001, 4, 0x112, 0], [0, 0, 0, 0], 48, "AS112", "RFC 7535"),
    v6([0x2001, 0x10, 0, 0], [0, 0, 0, 0], 28, "ORCHID", "RFC 4843"),
    v6([0x2001, 0x20, 0, 0], [0, 0, 0, 0], 28, "ORCHIDv2", "RFC 7343"),
    v6([0x2001, 0x30, 0, 0], [0, 0, 0, 0], 28, "drone remote identification", "RFC 9374"),
    v6([0x2001, 0, 0, 0], [0, 0, 0, 0], 23, "IETF protocol assignments", "RFC 2928"),
    v6([0x2001, 0xdb8, 0, 0], [0, 0, 0, 0], 32, "documentation", "RFC 3849"),
    always(v6([0x2002, 0, 0, 0], [0, 0, 0, 0], 16, "6to4", "RFC 3056")),
    v6([0x2620, 0x4f, 0x8000, 0], [0, 0, 0, 0], 48, "AS112", "RFC 7534"),
    v6([0x3ffe, 0, 0, 0], [0, 0, 0, 0], 16, "the former 6bone", "RFC 3701"),
    v6([0x3fff, 0, 0, 0], [0, 0, 0, 0], 20, "documentation", "RFC 9637"),
    v6([0x5f00, 0, 0, 0], [0, 0, 0, 0], 16, "segment routing", "RFC 9602"),
    always(v6([0xfd00, 0xec2, 0, 0], [0, 0, 0, 0], 32, "AWS's metadata services", "AWS EC2: IMDS over IPv6")),
    always(v6([0xfd20, 0xce, 0, 0], [0, 0, 0, 0x254], 128, "Google Cloud's metadata service", "Google Compute Engine: metadata over IPv6")),
    always(v6([0xfd00, 0x42, 0, 0], [0, 0, 0, 0x42], 128, "Scaleway's metadata service", "Scaleway: instance metadata")),
    always(v6([0xfd00, 0xc1, 0, 0], [0, 0, 0xa9fe, 0xa9fe], 128, "Oracle Cloud's metadata service", "Oracle OCI: instance metadata over IPv6")),
    v6([0xfc00, 0, 0, 0], [0, 0, 0, 0], 7, "unique local", "RFC 4193"),
    always(v6([0xfe80, 0, 0, 0], [0, 0, 0, 0], 10, "link-local", "RFC 4291")),
    v6([0xfec0, 0, 0, 0], [0, 0, 0, 0], 10, "site-local", "RFC 3879"),
    v6([0xff00, 0, 0, 0], [0, 0, 0, 0], 8, "multicast", "RFC 4291"),
];

/// An interface identifier that carries an IPv4 address, under any prefix.
static ISATAP: Range = Range { first: 0, prefix: 0, width: 128, name: "ISATAP", source: "RFC 5214", always: true };
/// What is neither a row nor 2000::/3.
static NOT_GLOBAL: Range = Range {
    first: 0,
    prefix: 0,
    width: 128,
    name: "not global unicast, which is 2000::/3",
    source: "RFC 4291",
    always: false,
};

/// Every row, in the order in which they are asked.
pub fn ranges() -> impl Iterator<Item = &'static Range> {
    V4.iter().chain(V6)
}

/// The row that keeps an address off the public internet, if one does.
pub fn special(address: IpAddr) -> Option<&'static Range> {
    match address {
        IpAddr::V4(address) => find(V4, u128::from(address.to_bits())),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            find(V6, bits).or_else(|| isatap(bits)).or_else(|| (bits >> 125 != 1).then_some(&NOT_GLOBAL))
        }
    }
}

fn find(table: &'static [Range], bits: u128) -> Option<&'static Range> {
    let holds =
        |range: &&Range| (bits ^ range.first).checked_shr(u32::from(range.width - range.prefix)).unwrap_or(0) == 0;
    table.iter().find(holds)
}

fn isatap(bits: u128) -> Option<&'static Range> {
    // The upper half of the interface identifier is 00-00-5E-FE, with or without its "universal" bit.
    matches!((bits >> 32) as u32, 0x0000_5efe | 0x0200_5efe).then_some(&ISATAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        }
    }

    #[test]
    fn every_row_is_refused_from_its_first_to_its_last_address_and_not_beyond() {
        for (table, most) in [(V4, u128::from(u32::MAX)), (V6, u128::MAX)] {
            for (at, range) in table.iter().enumerate() {
                let (first, last) = (range.first, bits(range.last()));
                assert!(!range.name.is_empty() && !range.source.is_empty());
                assert_eq!(first & (last ^ first), 0, "{}: bits beyond the prefix", range.name);
                for bits in [first, last, first + (last - first) / 2] {
                    let found = special(range.address(bits)).unwrap_or_else(|| panic!("{} is public", range.name));
                    let place = table.iter().position(|row| row == found).unwrap_or(usize::MAX);
                    assert!(place <= at, "{} is named {} instead", range.name, found.name);
                }
                for bits in
                    [first.checked_sub(1), last.checked_add(1).filter(|bits| *bits <= most)].into_iter().flatten()
                {
                    assert_ne!(special(range.address(bits)), Some(range), "beyond {}", range.name);
                }
            }
        }
    }

    #[test]
    fn neighbours_of_special_ranges_are_public() {
        for public in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "191.255.255.255",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "198.51.101.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "168.63.129.15",
            "168.63.129.17",
            "8.8.8.8",
            "2000::1",
            "2001:200::1",
            "2001:db7:ffff::1",
            "2001:db9::1",
            "2003::1",
            "2606:4700::1111",
            "2620:4f:7fff::1",
            "2620:4f:8001::1",
            "3ffd:ffff::1",
            "3fff:1000::1",
            "2a00:1450:4001::200e",
        ] {
            assert_eq!(special(public.parse().expect("an address")), None, "{public}");
        }
    }

    #[test]
    fn ranges_outside_global_unicast_are_refused() {
        for (hidden, name) in [
            ("1fff:ffff::", "not global"),
            ("4000::", "not global"),
            ("fe00::1", "not global"),
            ("::2", "IPv4-compatible"),
            ("::ffff:8.8.8.8", "IPv4-mapped"),
            ("64:ff9b::808:808", "NAT64"),
            ("2002:808:808::1", "6to4"),
            ("2001:0:1::1", "Teredo"),
            ("2a00:1450::5efe:8.8.8.8", "ISATAP"),
            ("2a00:1450::200:5efe:808:808", "ISATAP"),
            ("fe80::a9fe:a9fe", "link-local"),
            ("fd00:ec2::254", "AWS"),
            ("fd20:ce::254", "Google"),
            ("fd12::1", "unique local"),
        ] {
            let found = special(hidden.parse().expect("an address")).unwrap_or_else(|| panic!("{hidden} is public"));
            assert!(found.name.starts_with(name), "{hidden}: {}", found.name);
        }
    }

    #[test]
    fn metadata_services_are_always_closed() {
        for service in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "169.254.169.253",
            "169.254.42.42",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:42::42",
            "fd00:c1::a9fe:a9fe",
            "fe80::a9fe:a9fe",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(special(service.parse().expect("an address")).is_some_and(|range| range.always), "{service}");
        }
    }
}
