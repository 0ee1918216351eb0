//! Style, script and icon: small, our own, and cached for ever under a name that changes with their content.

use edgeward_core::Digest;

/// The logo: a ring that closes on itself.
pub(crate) const MARK: &str = r#"<svg viewBox="0 0 24 24" width="22" height="22" fill="none" stroke="currentColor" stroke-width="2.6" stroke-linecap="round"><path d="M20 12a8 8 0 1 1-3-6.2"/><path d="M20.5 2.5v4.3h-4.3" stroke-linejoin="round"/><circle cx="12" cy="12" r="2.4" fill="currentColor" stroke="none"/></svg>"#;

/// A file the page loads.
pub(crate) struct Asset {
    pub(crate) name: &'static str,
    pub(crate) media_type: &'static str,
    pub(crate) text: &'static str,
}

/// The style sheet.
pub(crate) const STYLE: Asset =
    Asset { name: "style.css", media_type: "text/css; charset=utf-8", text: include_str!("style.css") };
/// The script.
pub(crate) const SCRIPT: Asset =
    Asset { name: "live.js", media_type: "text/javascript; charset=utf-8", text: include_str!("live.js") };
/// The icon.
pub(crate) const ICON: Asset =
    Asset { name: "icon.svg", media_type: "image/svg+xml", text: include_str!("icon.svg") };

const ALL: [&Asset; 3] = [&STYLE, &SCRIPT, &ICON];

impl Asset {
    /// A short digest of the content.
    pub(crate) fn tag(&self) -> String {
        Digest::of(self.text.as_bytes()).short()
    }

    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        ALL.into_iter().find(|asset| asset.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page that needs more script is a page that needs another design.
    const SCRIPT_BYTES_MAX: usize = 4000;

    #[test]
    fn the_script_stays_small_and_nothing_comes_from_elsewhere() {
        assert!(SCRIPT.text.len() < SCRIPT_BYTES_MAX, "{}", SCRIPT.text.len());
        for asset in ALL {
            let foreign = asset.text.replace("http://www.w3.org/2000/svg", "");
            assert!(!foreign.contains("//cdn") && !foreign.contains("http"), "{}", asset.name);
        }
    }
}
