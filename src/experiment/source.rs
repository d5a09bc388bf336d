//! Where a key or a value was given: a line and column of the file, or an option of the command line.

/// The texts that an experiment is put together from, laid end to end, so that one offset tells text, line and column.
pub(super) struct Sources<'a> {
    name: &'a str,
    text: &'a str,
    options: Vec<Argument>,
}

/// An option of the command line and the offset at which it begins.
struct Argument {
    start: usize,
    spelling: String,
}

impl<'a> Sources<'a> {
    /// `name` is how messages call the file that holds `text`.
    pub(super) fn new(name: &'a str, text: &'a str) -> Self {
        Self { name, text, options: Vec::new() }
    }

    /// Puts an option behind everything before it; returns the offset at which it begins.
    pub(super) fn add(&mut self, spelling: String) -> usize {
        // One more than the length: an error at the end of a text still belongs to it.
        let start = self.options.last().map_or(self.text.len() + 1, |last| last.start + last.spelling.len() + 1);
        self.options.push(Argument { start, spelling });
        start
    }

    /// The file's name in messages.
    pub(super) fn name(&self) -> &str {
        self.name
    }

    /// `FILE:LINE:COLUMN`, both from 1 and the column in characters, or the option as it was written.
    pub(super) fn place(&self, offset: usize) -> String {
        if let Some(option) = self.options.iter().rfind(|option| option.start <= offset) {
            return option.spelling.clone();
        }
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        format!("{}:{line}:{}", self.name, before[line_start..].chars().count() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_tells_line_and_column_or_the_option() {
        let mut sources = Sources::new("a.toml", "é = 1\nb = 2\n");
        let first = sources.add("--set a=1".into());
        let second = sources.add("--grid b=1,2".into());
        assert_eq!(sources.place(0), "a.toml:1:1");
        assert_eq!(sources.place(3), "a.toml:1:3", "columns count characters, not bytes");
        assert_eq!(sources.place(7), "a.toml:2:1");
        assert_eq!(sources.place(13), "a.toml:3:1", "the end of the file");
        assert_eq!(sources.place(first), "--set a=1");
        assert_eq!(sources.place(second - 1), "--set a=1");
        assert_eq!(sources.place(second), "--grid b=1,2");
    }
}
