//! Keys as the DevTools protocol wants them.

use serde_json::{Value, json};

/// A key that is pressed and released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// To the next element.
    Tab,
    /// To the previous element.
    ShiftTab,
    /// Presses what is focused.
    Enter,
    /// Presses a focused button.
    Space,
    /// Leaves a dialog.
    Escape,
    /// Arrow.
    Left,
    /// Arrow.
    Right,
    /// First of several.
    Home,
    /// Last of several.
    End,
}

impl Key {
    /// The two events of one press.
    pub(super) fn events(self) -> [Value; 2] {
        const SHIFT: u32 = 8;
        let (key, code, number, text) = match self {
            Self::Tab | Self::ShiftTab => ("Tab", "Tab", 9, ""),
            Self::Enter => ("Enter", "Enter", 13, "\r"),
            Self::Space => (" ", "Space", 32, " "),
            Self::Escape => ("Escape", "Escape", 27, ""),
            Self::Left => ("ArrowLeft", "ArrowLeft", 37, ""),
            Self::Right => ("ArrowRight", "ArrowRight", 39, ""),
            Self::Home => ("Home", "Home", 36, ""),
            Self::End => ("End", "End", 35, ""),
        };
        let modifiers = if self == Self::ShiftTab { SHIFT } else { 0 };
        let event = |kind: &str, text: &str| {
            json!({
                "type": kind, "key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": modifiers, "text": text,
            })
        };
        [event(if text.is_empty() { "rawKeyDown" } else { "keyDown" }, text), event("keyUp", "")]
    }
}
