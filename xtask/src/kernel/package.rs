//! Which Debian package something is taken from.

use std::fs;

use crate::error::Error;
use crate::workspace::Workspace;

/// What a `.pin` file says: `package NAME` and `series X.Y`.
pub(super) struct Pin {
    pub(super) package: String,
    pub(super) series: String,
    pub(super) text: String,
}

impl Pin {
    /// `name` is a file in `kernel-config`.
    pub(super) fn read(workspace: &Workspace, name: &str) -> Result<Self, Error> {
        let file = workspace.kernel_config().join(name);
        let text = fs::read_to_string(&file).map_err(Error::io("reading", &file))?;
        let field = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once(' '))
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.trim().to_owned())
                .ok_or_else(|| Error::Format {
                    what: file.display().to_string(),
                    problem: format!("no line `{name} ...`"),
                })
        };
        Ok(Self {
            package: field("package")?,
            series: field("series")?,
            text: text.trim().to_owned(),
        })
    }
}
