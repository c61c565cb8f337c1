//! Chromium without a window, driven over two pipes by its DevTools protocol: no port, no other program.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The longest wait for an answer, a new page, or a change on it. On busy machines the browser is slow.
const LIMIT: Duration = Duration::from_secs(60);

/// How a page is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) dark: bool,
}

pub(crate) const DESKTOP: Look = Look { width: 1280, height: 800, dark: false };
pub(crate) const PHONE: Look = Look { width: 390, height: 844, dark: false };

/// A browser with one page. Dropping it ends all its processes.
pub(crate) struct Browser {
    child: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    calls: u64,
    target: Option<String>,
    session: Option<String>,
    /// What the page said on its console: messages, exceptions and refusals.
    said: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    pub(crate) fn start() -> Browser {
        let profile = tempfile::tempdir().unwrap();
        // The browser reads descriptor 3 and writes descriptor 4.
        let script = r#"exec chromium "$@" 3<&0 4>&1 < /dev/null > /dev/null 2> "$HOME/stderr""#;
        let mut child = Command::new("sh")
            .args(["-c", script, "sh", "--headless", "--no-sandbox", "--remote-debugging-pipe"])
            .args(["--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars"])
            .args(["--disable-extensions", "--disable-component-update", "--disable-background-networking"])
            .args(["--renderer-process-limit=1", "--font-render-hinting=none"])
            .arg(format!("--user-data-dir={}", profile.path().join("profile").display()))
            .arg("about:blank")
            .env("HOME", profile.path())
            .env("TZ", "Pacific/Auckland")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            while output.read_until(0, &mut bytes).is_ok_and(|count| count > 0) {
                bytes.pop();
                let message = serde_json::from_slice(&bytes).unwrap();
                if sender.send(message).is_err() {
                    break;
                }
                bytes.clear();
            }
        });
        let (target, session, said) = (None, None, Vec::new());
        Browser { child, input, messages, calls: 0, target, session, said, _profile: profile }
    }

    /// Takes one message of the browser, and keeps what pages say.
    fn message(&mut self, deadline: Instant, awaited: &str) -> Value {
        let left = deadline.saturating_duration_since(Instant::now());
        let message: Value = self
            .messages
            .recv_timeout(left)
            .unwrap_or_else(|error| panic!("{error}: no {awaited} from chromium (Debian package chromium)"));
        let says = ["Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"];
        if message["method"].as_str().is_some_and(|method| says.contains(&method)) {
            self.said.push(message["params"].to_string());
        }
        message
    }

    /// Calls a method of the page.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        let mut request = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &self.session {
            request["sessionId"] = session.as_str().into();
        }
        self.input.write_all(format!("{request}\0").as_bytes()).unwrap();
        let deadline = Instant::now() + LIMIT;
        loop {
            let mut message = self.message(deadline, method);
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].take();
            }
        }
    }

    /// Opens a page in place of the last one, and waits until it is loaded.
    pub(crate) fn open(&mut self, url: &str, look: Look) {
        self.session = None;
        if let Some(target) = self.target.take() {
            self.call("Target.closeTarget", json!({ "targetId": target }));
        }
        let target = self.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attached = json!({ "targetId": target["targetId"], "flatten": true });
        self.session = self.call("Target.attachToTarget", attached)["sessionId"].as_str().map(str::to_owned);
        self.target = target["targetId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
        self.call("Emulation.setFocusEmulationEnabled", json!({ "enabled": true }));
        self.look(look);
        self.said.clear();
        self.call("Page.navigate", json!({ "url": url }));
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'");
    }

    /// Changes how the page is shown.
    pub(crate) fn look(&mut self, look: Look) {
        let Look { width, height, dark } = look;
        let phone = width < 600;
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone }),
        );
        let scheme = json!({ "name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" } });
        self.call("Emulation.setEmulatedMedia", json!({ "features": [scheme] }));
    }

    /// The value of an expression in the page.
    #[track_caller]
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", asked);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// The text of an expression in the page.
    #[track_caller]
    pub(crate) fn text(&mut self, expression: &str) -> String {
        let value = self.eval(expression);
        value.as_str().unwrap_or_else(|| panic!("{expression}: {value}")).to_owned()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub(crate) fn wait(&mut self, expression: &str) {
        let deadline = Instant::now() + LIMIT;
        while self.eval(expression) != true {
            assert!(Instant::now() < deadline, "never true: {expression}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Presses a key: `Tab`, `Enter`, `Escape`, `ArrowLeft` or a character.
    pub(crate) fn press(&mut self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            "End" => 35,
            "Home" => 36,
            "ArrowLeft" => 37,
            "ArrowUp" => 38,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            _ => 0,
        };
        let text = match key {
            "Enter" => Some("\r"),
            _ => (key.chars().count() == 1).then_some(key),
        };
        let mut event = json!({
            "type": "keyDown", "key": key, "windowsVirtualKeyCode": code,
        });
        if let Some(text) = text {
            event["text"] = text.into();
        }
        self.call("Input.dispatchKeyEvent", event.clone());
        event["type"] = "keyUp".into();
        self.call("Input.dispatchKeyEvent", event);
        self.settle();
    }

    /// Types text where the focus is.
    pub(crate) fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
        self.settle();
    }

    /// Waits until the page has drawn what it was about to draw.
    pub(crate) fn settle(&mut self) {
        self.eval("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))");
    }

    /// The page as it looks, in the PNG format.
    pub(crate) fn screenshot(&mut self) -> Vec<u8> {
        let answer = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        decoded(answer["data"].as_str().unwrap())
    }

    /// The page as it is printed, in the PDF format.
    pub(crate) fn print(&mut self) -> Vec<u8> {
        let answer = self.call("Page.printToPDF", json!({ "printBackground": true }));
        decoded(answer["data"].as_str().unwrap())
    }

    /// What the page said on its console since it was opened.
    pub(crate) fn said(&mut self) -> Vec<String> {
        self.settle();
        self.said.clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}

/// The bytes of a base64 text.
fn decoded(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Vec<u8> = text.bytes().filter_map(digit).collect();
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for four in digits.chunks(4) {
        let word =
            four.iter().fold(0u32, |word, digit| word << 6 | u32::from(*digit)) << (6 * (4 - four.len()));
        bytes.extend_from_slice(&word.to_be_bytes()[1..four.len()]);
    }
    bytes
}
