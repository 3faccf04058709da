//! What was measured, told twice: in sentences as it comes, and as one JSON object at the end.

use std::path::PathBuf;

use serde_json::{Map, Value};

/// Collects the figures of one run.
pub(crate) struct Report {
    figures: Map<String, Value>,
    file: Option<PathBuf>,
}

impl Report {
    /// A report that is also written to `file` when it is finished.
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        Self {
            figures: Map::new(),
            file,
        }
    }

    /// One sentence.
    pub(crate) fn say(&self, sentence: impl AsRef<str>) {
        println!("{}", sentence.as_ref());
    }

    /// One figure under a name that says its unit.
    pub(crate) fn set(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.figures.insert(name.into(), value.into());
    }

    /// A figure that was measured several times: median, lowest and highest.
    pub(crate) fn spread(&mut self, name: impl Into<String>, measured: &[f64]) -> Spread {
        let spread = Spread::of(measured);
        self.figures.insert(
            name.into(),
            serde_json::json!({
                "median": spread.median, "min": spread.min, "max": spread.max, "all": measured,
            }),
        );
        spread
    }

    /// Writes the JSON.
    pub(crate) fn finish(self) {
        if let Some(file) = self.file {
            let text = serde_json::to_string_pretty(&self.figures).expect("figures are JSON");
            std::fs::write(&file, text + "\n").expect("the JSON file can be written");
        }
    }
}

/// Several measurements of one thing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    fn of(measured: &[f64]) -> Self {
        let mut sorted = measured.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        Self {
            median: at(sorted.len() / 2),
            min: at(0),
            max: at(sorted.len().saturating_sub(1)),
        }
    }

    /// `1.23 (1.20 to 1.30)`.
    pub(crate) fn shown(&self, digits: usize) -> String {
        format!(
            "{:.digits$} ({:.digits$} to {:.digits$})",
            self.median, self.min, self.max
        )
    }
}

/// The value below which so many of a thousand lie; `sorted` is sorted.
pub(crate) fn permille(sorted: &[u64], permille: usize) -> u64 {
    let index = (sorted.len() * permille / 1_000).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}

/// MiB, for a sentence.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
