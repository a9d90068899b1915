//! Which kernels there are, and which of them are meant.
//!
//! Debian names a kernel's packages after its release: `linux-image-6.1.0-50-cloud-amd64`. Of each
//! series (6.1) the newest release is taken. The cloud flavour is the smallest that has all that
//! the tests need.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

/// What begins the name of a package with a kernel, its modules, or both.
pub(super) const PACKAGES: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];
/// What ends it.
const FLAVOUR: &str = "-cloud-amd64";

/// Debian's suites that together have all series below.
pub(super) const SUITES: [&str; 4] = ["bullseye", "bookworm", "trixie", "trixie-backports"];

/// The oldest series in which everything works.
pub(super) const FLOOR: Series = Series(6, 1);

/// What is run if nothing is said: a series too old, where `attach` must say so, the floor, the
/// long-term series since, and the newest of all.
const USUAL: [&str; 5] = ["5.10", "6.1", "6.12", "6.18", NEWEST];
/// What is run in CI.
const CI: [&str; 2] = ["6.1", NEWEST];
const NEWEST: &str = "newest";

/// Major and minor version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Series(u32, u32);

/// A kernel that can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    pub(super) series: Series,
    /// As `uname -r` prints it.
    pub(super) release: String,
}

/// Of what a release consists, by which releases are sorted: `6.12.117+deb13` is 6, 12, 117, 13.
pub(super) fn numbers(release: &str) -> Vec<u32> {
    let words = release.split(|c: char| !c.is_ascii_digit());
    words.filter_map(|word| word.parse().ok()).collect()
}

impl Kernel {
    fn of_package(package: &str) -> Option<Self> {
        let release = PACKAGES.iter().find_map(|prefix| package.strip_prefix(prefix))?;
        let mut numbers = release.strip_suffix(FLAVOUR)?.splitn(3, '.');
        let series = Series(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        Some(Self { series, release: release.to_owned() })
    }

    /// Whether `attach` has to refuse it.
    pub(super) fn is_below_the_floor(&self) -> bool {
        self.series < FLOOR
    }

    /// The release without the flavour, for tables.
    pub(super) fn name(&self) -> &str {
        self.release.strip_suffix(FLAVOUR).unwrap_or(&self.release)
    }
}

impl std::fmt::Display for Series {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{}", self.0, self.1)
    }
}

/// The newest kernel of each series among these packages, oldest series first.
pub(super) fn among(packages: &[String]) -> Vec<Kernel> {
    let mut newest: BTreeMap<Series, Kernel> = BTreeMap::new();
    for kernel in packages.iter().filter_map(|package| Kernel::of_package(package)) {
        let known = newest.entry(kernel.series).or_insert_with(|| kernel.clone());
        if numbers(&kernel.release) > numbers(&known.release) {
            *known = kernel;
        }
    }
    newest.into_values().collect()
}

/// Those of the kernels that are meant.
pub(super) fn choose(kernels: &[Kernel], patterns: &[String], ci: bool) -> Result<Vec<Kernel>> {
    let mut wanted: Vec<&str> = patterns.iter().map(String::as_str).collect();
    if wanted.is_empty() {
        wanted = if ci { CI.to_vec() } else { USUAL.to_vec() };
    }
    let newest = kernels.last().map(|kernel| kernel.series);
    let meant = |kernel: &Kernel, pattern: &str| {
        let series = kernel.series.to_string();
        pattern == series || series.starts_with(&format!("{pattern}.")) || {
            pattern == NEWEST && Some(kernel.series) == newest
        }
    };
    for pattern in &wanted {
        if !kernels.iter().any(|kernel| meant(kernel, pattern)) {
            let known: Vec<_> = kernels.iter().map(|kernel| kernel.series.to_string()).collect();
            bail!("Debian's suites have no kernel {pattern}; they have {}", known.join(", "));
        }
    }
    let any = |kernel: &&Kernel| wanted.iter().any(|pattern| meant(kernel, pattern));
    Ok(kernels.iter().filter(any).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::{Kernel, among, choose};

    fn kernels() -> Vec<Kernel> {
        let names = [
            "linux-image-6.1.0-47-cloud-amd64",
            "linux-image-6.1.0-50-cloud-amd64",
            "linux-image-6.1.0-50-amd64",
            "linux-image-6.1.0-50-cloud-amd64-dbg",
            "linux-image-cloud-amd64",
            "linux-image-6.12.9+deb13-cloud-amd64",
            "linux-image-6.12.107+deb13-cloud-amd64",
            "linux-image-5.10.0-32-cloud-amd64",
            "linux-binary-unsigned-7.3.5+deb13-cloud-amd64",
            "linux-binary-7.3.4+deb13-cloud-amd64",
            "linux-image-6.18.15+deb13-cloud-amd64",
        ];
        among(&names.map(str::to_owned))
    }

    fn chosen(patterns: &[&str], ci: bool) -> Vec<String> {
        let patterns: Vec<_> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        let chosen = choose(&kernels(), &patterns, ci).expect("a choice");
        chosen.iter().map(|kernel| kernel.name().to_owned()).collect()
    }

    #[test]
    fn of_each_series_the_newest_release_is_taken() {
        let names: Vec<_> = kernels().iter().map(|kernel| kernel.name().to_owned()).collect();
        assert_eq!(names, ["5.10.0-32", "6.1.0-50", "6.12.107+deb13", "6.18.15+deb13", "7.3.4+deb13"]);
    }

    #[test]
    fn patterns_name_series_and_not_beginnings_of_numbers() {
        assert_eq!(chosen(&["6.1"], false), ["6.1.0-50"]);
        assert_eq!(chosen(&["6"], false).len(), 3);
        assert_eq!(chosen(&["newest", "5.10"], false), ["5.10.0-32", "7.3.4+deb13"]);
        assert_eq!(chosen(&[], true), ["6.1.0-50", "7.3.4+deb13"]);
        assert_eq!(chosen(&[], false).len(), 5);
    }

    #[test]
    fn a_kernel_that_is_not_there_is_an_error_that_tells_what_is() {
        let error = choose(&kernels(), &["6.6".to_owned()], false).expect_err("there is none");
        assert!(error.to_string().contains("6.6") && error.to_string().contains("6.12"), "{error}");
    }
}
