//! A Rust file as words: what the style rules look at. Comments and literals become single
//! tokens, so no rule can trip over a word inside a string.

/// What a token is; its text is kept for words and comments only.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// An identifier, keyword, number or lifetime.
    Word,
    /// One character of punctuation.
    Mark,
    /// A string, byte string or character; the text is empty.
    Literal,
    /// One comment, documentation included.
    Comment,
}

/// One token and the line (from 1) on which it begins.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) line: usize,
    pub(super) text: String,
}

/// The tokens of `text`, in order. Never fails: an unterminated literal ends with the file.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { chars: text.chars().collect(), at: 0, line: 1 };
    let mut out = Vec::new();
    while let Some(token) = lexer.token() {
        out.push(token);
    }
    out
}

/// The tokens without comments.
pub(super) fn code(tokens: &[Token]) -> Vec<Token> {
    tokens.iter().filter(|token| token.kind != Kind::Comment).cloned().collect()
}

/// `code` without the items behind `#[cfg(test)]`.
pub(super) fn outside_tests(code: &[Token]) -> Vec<Token> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < code.len() {
        if is(&code[at..], &["#", "[", "cfg", "(", "test", ")", "]"]) {
            at = item_end(code, at);
        } else {
            out.push(code[at].clone());
            at += 1;
        }
    }
    out
}

/// Whether `code` begins with these words and marks.
pub(super) fn is(code: &[Token], texts: &[&str]) -> bool {
    code.len() >= texts.len()
        && texts.iter().zip(code).all(|(text, token)| {
            token.text == *text && matches!(token.kind, Kind::Word | Kind::Mark)
        })
}

/// The index behind the item that begins at `at`, its attributes included: behind its `;` or
/// its outermost closing brace.
pub(super) fn item_end(code: &[Token], mut at: usize) -> usize {
    while is(&code[at..], &["#", "["]) {
        at = group_end(code, at + 1);
    }
    let mut depth = 0usize;
    while at < code.len() {
        match mark(&code[at]) {
            "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            "{" if depth == 0 => return group_end(code, at),
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    at
}

/// The index behind the bracket that closes the one at `at`.
fn group_end(code: &[Token], mut at: usize) -> usize {
    let mut depth = 0usize;
    while at < code.len() {
        match mark(&code[at]) {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at
}

fn mark(token: &Token) -> &str {
    if token.kind == Kind::Mark { &token.text } else { "" }
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
}

impl Lexer {
    fn token(&mut self) -> Option<Token> {
        while self.peek(0)?.is_whitespace() {
            self.skip(1);
        }
        let (line, start) = (self.line, self.at);
        let kind = self.kind();
        let text = match kind {
            Kind::Literal => String::new(),
            _ => self.chars[start..self.at].iter().collect(),
        };
        Some(Token { kind, line, text })
    }

    /// Consumes one token.
    fn kind(&mut self) -> Kind {
        match (self.peek(0).unwrap_or(' '), self.peek(1).unwrap_or(' ')) {
            ('/', '/') => {
                while self.peek(0).is_some_and(|c| c != '\n') {
                    self.skip(1);
                }
                Kind::Comment
            }
            ('/', '*') => self.block_comment(),
            ('"', _) => self.string(),
            ('\'', _) => self.quote(),
            (c, _) if c.is_alphanumeric() || c == '_' => self.word(),
            _ => {
                self.skip(1);
                Kind::Mark
            }
        }
    }

    fn word(&mut self) -> Kind {
        let start = self.at;
        while self.peek(0).is_some_and(|c| c.is_alphanumeric() || c == '_') {
            self.skip(1);
        }
        let word: String = self.chars[start..self.at].iter().collect();
        let hashes = self.chars[self.at..].iter().take_while(|c| **c == '#').count();
        match (word.as_str(), self.peek(hashes)) {
            ("r" | "br" | "cr", Some('"')) => self.raw_string(hashes),
            ("b" | "c", Some('"')) if hashes == 0 => self.string(),
            ("b", Some('\'')) if hashes == 0 => self.quote(),
            _ => Kind::Word,
        }
    }

    fn block_comment(&mut self) -> Kind {
        let mut depth = 0;
        while let Some(c) = self.peek(0) {
            match (c, self.peek(1)) {
                ('/', Some('*')) => (depth += 1, self.skip(2)),
                ('*', Some('/')) => (depth -= 1, self.skip(2)),
                _ => ((), self.skip(1)),
            };
            if depth == 0 {
                break;
            }
        }
        Kind::Comment
    }

    fn string(&mut self) -> Kind {
        self.skip(1);
        while let Some(c) = self.peek(0) {
            self.skip(if c == '\\' { 2 } else { 1 });
            if c == '"' {
                break;
            }
        }
        Kind::Literal
    }

    fn raw_string(&mut self, hashes: usize) -> Kind {
        self.skip(hashes + 1);
        while let Some(c) = self.peek(0) {
            self.skip(1);
            if c == '"' && (0..hashes).all(|index| self.peek(index) == Some('#')) {
                self.skip(hashes);
                break;
            }
        }
        Kind::Literal
    }

    /// A character (`'x'`, `'\n'`) or a lifetime (`'a`).
    fn quote(&mut self) -> Kind {
        if self.peek(1) != Some('\\') && self.peek(2) != Some('\'') {
            self.skip(2);
            while self.peek(0).is_some_and(|c| c.is_alphanumeric() || c == '_') {
                self.skip(1);
            }
            return Kind::Word;
        }
        self.skip(1);
        while let Some(c) = self.peek(0) {
            self.skip(if c == '\\' { 2 } else { 1 });
            if c == '\'' {
                break;
            }
        }
        Kind::Literal
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.line += usize::from(self.peek(0) == Some('\n'));
            self.at = (self.at + 1).min(self.chars.len());
        }
    }
}

#[test]
fn literals_and_comments_are_single_tokens() {
    let text =
        "fn f<'a>(x: &'a str) { r#\"fn \"g\" }\"#; b'\\''; '\"'; \"\\\"{\" } /* { /* */ */ // }";
    let kinds = |kind| tokens(text).iter().filter(|token| token.kind == kind).count();
    assert_eq!(kinds(Kind::Literal), 4);
    assert_eq!(kinds(Kind::Comment), 2);
    let code = code(&tokens(text));
    assert_eq!(item_end(&code, 0), code.len());
}

#[test]
fn lines_are_those_of_the_file() {
    let found = tokens("a\n\"x\ny\" b /* \n */\nc");
    let words: Vec<_> =
        found.iter().filter(|t| t.kind == Kind::Word).map(|t| (t.text.as_str(), t.line)).collect();
    assert_eq!(words, [("a", 1), ("b", 3), ("c", 5)]);
}

#[test]
fn items_behind_cfg_test_are_left_out() {
    let text =
        "fn a() {} #[cfg(test)] #[x] mod t { fn b(x: [u8; 2]) {} } #[cfg(test)] use q; fn c() {}";
    let left: Vec<String> = outside_tests(&tokens(text)).into_iter().map(|t| t.text).collect();
    assert_eq!(left.join(""), "fna(){}fnc(){}");
}
