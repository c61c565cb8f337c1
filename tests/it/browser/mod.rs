//! The page of the fleet in a real browser. Screenshots are written to `target/tmp/page`.

mod devtools;
mod fleet;
#[cfg(all(feature = "https", feature = "ssh"))]
mod served;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use self::devtools::{Browser, DESKTOP, Look, PHONE};
use self::fleet::{AT, COLUMNS, Fleet, fleet, page};

/// A directory with a page in it.
struct Site(tempfile::TempDir);

impl Site {
    fn of(data: &Value) -> Site {
        let site = Site(tempfile::tempdir().unwrap());
        fs::write(site.path(), page(data)).unwrap();
        site
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("fleet.html")
    }

    fn url(&self, hash: &str) -> String {
        format!("file://{}{hash}", self.path().display())
    }
}

fn keep(browser: &mut Browser, name: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("{name}.png")), browser.screenshot()).unwrap();
}

/// The texts of all elements that a selector finds.
#[track_caller]
fn texts(browser: &mut Browser, selector: &str) -> Vec<String> {
    let found =
        browser.eval(&format!("[...document.querySelectorAll({selector:?})].map((one) => one.innerText)"));
    found.as_array().unwrap().iter().map(|text| text.as_str().unwrap().trim().to_owned()).collect()
}

#[track_caller]
fn text(browser: &mut Browser, selector: &str) -> String {
    texts(browser, selector).join("|")
}

/// Nothing was reported on the console, and nothing is wider than the window.
#[track_caller]
fn is_in_order(browser: &mut Browser, case: &str) {
    assert_eq!(browser.said(), Vec::<String>::new(), "{case}");
    let widths = browser.eval("[document.documentElement.scrollWidth, innerWidth]");
    assert!(widths[0].as_u64() <= widths[1].as_u64(), "{case}: {widths} too wide");
}

#[test]
fn is_correct_for_any_number_of_nodes_on_desktop_and_phone_in_light_and_dark() {
    let mut figures = String::new();
    let mut browser = Browser::start();
    let joined = "last change 24 h before: i-0000 joined (lb1)";
    let changed = "last change 3 min before: i-0007 state done → draining";
    for (nodes, events, expect, missing) in [
        (0, 0, "No node is on the list".to_owned(), 0),
        (1, 1, format!("1 node, active; {joined}"), 0),
        (12, 60, format!("12 nodes, 9 active; 1 silent, 1 down, 1 draining; {changed}"), 2),
        (1_000, 10_000, format!("1,000 nodes, 997 active; 1 silent, 1 down, 1 draining; {changed}"), 2),
    ] {
        let Fleet { data, .. } = fleet(nodes, events);
        let site = Site::of(&data);
        let size = fs::metadata(site.path()).unwrap().len();
        assert!(size < 2_000_000, "{size} bytes for {nodes} nodes");
        for (look, name) in [(DESKTOP, "desktop"), (PHONE, "phone")] {
            browser.open(&site.url(""), look);
            let case = format!("{nodes}-{name}");
            assert_eq!(text(&mut browser, "#headline"), expect, "{case}");
            assert_eq!(texts(&mut browser, "#missing li").len(), missing, "{case}");
            assert_eq!(texts(&mut browser, "#table tbody tr").len(), nodes.min(100), "{case}");
            let all = texts(&mut browser, ".counts tfoot td.all");
            assert_eq!(all, if nodes == 0 { vec![] } else { vec![nodes.to_string()] }, "{case}");
            // However many nodes there are, only the lanes that can be seen are drawn.
            let lanes = texts(&mut browser, "#lanes .lane:not(.head)").len();
            let expect = if nodes > 100 { 10..60 } else { nodes..nodes + 1 };
            assert!(expect.contains(&lanes), "{case}: {lanes} lanes");
            is_in_order(&mut browser, &case);
            keep(&mut browser, &format!("{case}-light"));
            let interactive = browser.eval("performance.getEntriesByName('interactive')[0].startTime");
            figures.push_str(&format!("{case}: {size} bytes, interactive after {interactive} ms\n"));
            browser.look(Look { dark: true, ..look });
            keep(&mut browser, &format!("{case}-dark"));
        }
    }
    // Measured, not asserted: see them beside the screenshots.
    fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("page/figures.txt"), figures).unwrap();
}

#[test]
fn the_past_is_as_it_was() {
    let mut browser = Browser::start();
    let Fleet { data, past } = fleet(40, 400);
    assert!(past.len() > 10);
    let site = Site::of(&data);
    browser.open(&site.url(""), DESKTOP);
    for (time, list) in past {
        let rows = browser
            .eval(&format!("momentOf(fleet, {time}).rows.map(({{ listed, is }}) => listed ? is : null)"));
        let expect: Vec<Value> = list
            .iter()
            .map(|facts| match facts {
                Some(facts) => COLUMNS
                    .iter()
                    .zip(facts)
                    .map(|(column, fact)| (*column, fact.as_str()))
                    .collect::<Value>(),
                None => Value::Null,
            })
            .collect();
        assert_eq!(rows, Value::Array(expect), "at {time}");
        // The lanes say the same, and so does the version that is not in the table.
        let states = browser.eval(&format!(
            "fleet.data.nodes.map((_, index) => laneOf(fleet, index).spans
                .find(({{ from, to }}) => from <= {time} && {time} < to)?.state ?? null)"
        ));
        let expect: Vec<Value> =
            list.iter().map(|facts| json!(facts.as_ref().map(|facts| &facts[3]))).collect();
        assert_eq!(states, Value::Array(expect), "the lanes at {time}");
    }
}

#[test]
fn sorts_filters_and_goes_back_in_time() {
    let mut browser = Browser::start();
    let site = Site::of(&fleet(12, 60).data);
    browser.open(&site.url(""), DESKTOP);
    let ids = "#table tbody .node";

    // By part, then by id; again by address, downwards.
    assert_eq!(texts(&mut browser, ids)[..3], ["i-0001", "i-0002", "i-0003"]);
    assert_eq!(browser.eval("document.querySelector('th.c-part').ariaSort"), "ascending");
    browser.eval("document.querySelector('th.c-address button').click()");
    browser.eval("document.querySelector('th.c-address button').click()");
    assert_eq!(browser.eval("document.querySelector('th.c-address').ariaSort"), "descending");
    // As numbers: 192.0.2.12 before 192.0.2.9.
    assert_eq!(texts(&mut browser, ids)[..4], ["i-0011", "i-0010", "i-0009", "i-0008"]);
    let lanes = texts(&mut browser, "#lanes .node");
    assert_eq!(lanes, texts(&mut browser, ids), "the lanes have the order of the table");

    for (filter, expect, shown) in [
        ("part:app* state:active", "i-0006|i-0005|i-0004|i-0002", "4 of 12 nodes"),
        ("STATE:wedged", "i-0003", "1 of 12 nodes"),
        ("state:silent", "i-0001", "1 of 12 nodes"),
        ("192.0.2.1 app", "", "0 of 12 nodes"),
        ("db", "i-0009|i-0008", "2 of 12 nodes"),
        ("hostname:cron1-*", "i-0011", "1 of 12 nodes"),
        ("'b1' lad?", "i-0008|i-0000", "2 of 12 nodes"),
        ("rack:r1", "", "0 of 12 nodes; no node states rack"),
        ("2001:db8::1", "", "0 of 12 nodes"),
        ("", "", "12 nodes"),
    ] {
        browser.eval(&format!(
            "(() => {{ const field = document.getElementById('filter');
            field.value = {filter:?}; field.dispatchEvent(new Event('input')); }})()"
        ));
        browser.settle();
        assert_eq!(text(&mut browser, "#shown"), shown, "{filter}");
        if !filter.is_empty() {
            assert_eq!(text(&mut browser, ids), expect, "{filter}");
        }
    }

    // An hour before, node 7 was not draining and node 3 not wedged; who was silent is not known.
    browser.eval("document.getElementById('hour').click()");
    browser.settle();
    assert!(text(&mut browser, "#when").starts_with("past 2026-09-21 13:13:20 UTC"));
    assert!(text(&mut browser, "#headline").starts_with("1 h before this page was made: "));
    assert!(text(&mut browser, "#missing").contains("Silent nodes are not known for the past"));
    assert_eq!(texts(&mut browser, "td.c-heard")[0], "not known");
    assert!(!text(&mut browser, "#table").contains("silent"));
    let counted = texts(&mut browser, ".counts tfoot td.all");
    assert_eq!(counted, [texts(&mut browser, "#table tbody tr").len().to_string()]);
    keep(&mut browser, "12-desktop-past");
    // The slider stands where the moment is.
    let slider = "const slider = document.getElementById('slider');";
    let stands = browser.eval(&format!("{{ {slider} Number(slider.value) }}"));
    assert_eq!(stands, AT - 3600);
    // As soon as it is moved to the time of an event, the event has happened.
    browser.eval(&format!(
        "{{ {slider} slider.value = {}; slider.dispatchEvent(new Event('input')); }}",
        AT - 180
    ));
    browser.settle();
    assert!(
        text(&mut browser, "#headline").ends_with("last change 0 s earlier: i-0007 state done → draining")
    );
    browser.eval(&format!(
        "{{ {slider} slider.value = {}; slider.dispatchEvent(new Event('input')); }}",
        AT - 181
    ));
    browser.settle();
    assert!(!text(&mut browser, "#headline").contains("i-0007"));
    // To the left end, and not further: before that, nothing is known.
    browser.eval(&format!("{{ {slider} slider.value = 0; slider.dispatchEvent(new Event('input')); }}"));
    browser.settle();
    assert_eq!(browser.eval(&format!("{{ {slider} Number(slider.value) }}")), AT - 86_400);
    assert_eq!(browser.eval("document.getElementById('earlier').disabled"), true);
    is_in_order(&mut browser, "after all that");

    // The address is the view: it can be sent to others.
    browser.eval("document.getElementById('now').click()");
    let hash = format!("#filter=part%3Aapp*&sort=-id&at={}&node=i-0002", AT - 3600);
    browser.open(&site.url(&hash), DESKTOP);
    let ids = texts(&mut browser, ids);
    assert!(ids.len() > 3 && ids.is_sorted_by(|one, other| one > other), "{ids:?}");
    assert_eq!(text(&mut browser, "#details h2"), "i-0002");
    assert!(text(&mut browser, "#when").starts_with("past 2026-09-21 13:13:20 UTC"));
    browser.eval("document.getElementById('now').click()");
    browser.wait("location.hash === '#filter=part%3Aapp*&sort=-id&node=i-0002'");
    // A count leads to its nodes.
    browser.eval("document.querySelector('.counts td.down a').click()");
    browser.wait("document.getElementById('filter').value === 'part:app1 state:wedged'");
    is_in_order(&mut browser, "the address");
}

#[test]
fn shows_hostile_records_as_text() {
    const HOSTILE: [&str; 9] = [
        "<script>window.taken = 1</script>",
        "\"><img src=x onerror=\"window.taken = 1\">",
        "\u{202e}gpj.exe\u{2066}",
        "</script><script>window.taken = 1</script>",
        "<!--<script>",
        "javascript:window.taken=1",
        "__proto__",
        "constructor",
        "#filter=x&at=1",
    ];
    let mut data = fleet(12, 60).data;
    let long = "w".repeat(5_000);
    let hostile = |index: usize| HOSTILE.get(index).copied().unwrap_or(&long);
    let mut ids = Vec::new();
    for (index, node) in data["nodes"].as_array_mut().unwrap().iter_mut().enumerate() {
        let text = hostile(index);
        node["id"] = format!("{index} {text}").into();
        ids.push(format!("{index} {text}"));
        for column in COLUMNS {
            node["is"][column] = text.into();
        }
        node["reason"] = text.into();
        node["freshness"] = text.into();
        node["facts"] = json!([[text, text], ["__proto__", text]]);
    }
    for event in data["history"]["events"].as_array_mut().unwrap() {
        let text = hostile(event[1].as_u64().unwrap() as usize);
        event[3] = text.into();
        for change in event[4].as_array_mut().unwrap() {
            for side in [1, 2] {
                if !change[side].is_null() {
                    change[side] = text.into();
                }
            }
        }
        event[4].as_array_mut().unwrap().push(json!([text, text, text]));
    }
    for (index, edge) in data["wiring"]["edges"].as_array_mut().unwrap().iter_mut().enumerate() {
        for end in ["from", "to"] {
            edge[end] = json!([hostile(index), hostile(index), hostile(index + usize::from(end == "to"))]);
        }
        edge["by"] = json!([hostile(index)]);
    }
    data["wiring"]["notes"] = json!(HOSTILE);
    data["wiring"]["chosen"] =
        json!([{ "from": [HOSTILE[0], HOSTILE[0], HOSTILE[0]], "by": HOSTILE[1], "id": HOSTILE[2] }]);
    data["problems"] = json!(HOSTILE);
    data["presence"] = HOSTILE[0].into();
    data["commit"] = HOSTILE[1].into();
    data["stores"] = json!([
        { "store": HOSTILE[0], "problem": HOSTILE[1], "history": "begins", "begins": 5, "note": HOSTILE[2] },
        { "store": long, "problem": long, "history": "none", "begins": null, "note": long },
    ]);
    let site = Site::of(&data);
    let mut browser = Browser::start();
    for (look, name) in [(DESKTOP, "desktop"), (PHONE, "phone")] {
        browser.open(&site.url(""), look);
        keep(&mut browser, &format!("hostile-{name}"));
        browser.eval("document.querySelectorAll('details').forEach((one) => { one.open = true; })");
        browser.eval(&format!("{}.forEach((node) => show({{ node }}))", json!(ids)));
        browser.eval(&format!("show({{ at: {} }})", AT - 3600));
        browser.eval("show({ filter: '<script>', sort: 'state' })");
        browser.eval("show({ filter: '(((a+)+)+)*.*[\\\\' })");
        browser.eval("show({ filter: '', at: null })");
        browser.settle();
        let foreign = "document.querySelectorAll('img, iframe, object, script:not(#fleet):not(:last-of-type), [onerror]').length";
        assert_eq!(browser.eval(foreign), 0);
        assert_eq!(browser.eval("typeof window.taken"), "undefined");
        let links =
            "[...document.querySelectorAll('a')].every((one) => one.getAttribute('href').startsWith('#'))";
        assert_eq!(browser.eval(links), true);
        let whole = browser.text("document.body.innerText + document.title");
        assert!(!whole.contains(['\u{202e}', '\u{2066}']));
        assert!(texts(&mut browser, "td.c-part").contains(&"\\u{202e}gpj.exe\\u{2066}".to_owned()));
        assert!(texts(&mut browser, "td.c-part").contains(&HOSTILE[0].to_owned()));
        is_in_order(&mut browser, name);
    }
}

#[test]
fn every_part_is_reached_by_the_keyboard() {
    let mut browser = Browser::start();
    let site = Site::of(&fleet(12, 60).data);
    browser.open(&site.url(""), DESKTOP);
    let focused = "document.activeElement.id || document.activeElement.dataset.key";

    browser.press("/");
    assert_eq!(browser.text(focused), "filter");
    browser.write("part:app1");
    assert_eq!(text(&mut browser, "#shown"), "4 of 12 nodes");
    // In the filter, the key is a character.
    browser.press("/");
    assert_eq!(text(&mut browser, "#shown"), "0 of 12 nodes");
    browser.eval("show({ filter: 'part:app1' })");

    // From the filter past the heads of the table to its rows: one stop for all of them.
    for _ in 0..9 {
        browser.press("Tab");
    }
    assert_eq!(browser.text(focused), "row i-0001");
    let ring = browser.eval("getComputedStyle(document.activeElement).outlineStyle");
    assert_eq!(ring, "solid", "the focus can be seen");
    browser.press("ArrowDown");
    browser.press("ArrowDown");
    browser.press("ArrowUp");
    assert_eq!(browser.text(focused), "row i-0002");
    browser.press("Enter");
    assert_eq!(browser.eval("document.activeElement.tagName"), "H2");
    let details = text(&mut browser, "#details");
    for expect in
        ["i-0002", "app1", "192.0.2.3", "hostname", "heartbeat", "History", "joined (app1)", "commit"]
    {
        assert!(details.contains(expect), "no {expect} in\n{details}");
    }
    keep(&mut browser, "12-desktop-node");
    browser.press("Escape");
    assert_eq!(browser.eval("document.getElementById('details').hidden"), true);
    assert_eq!(browser.text(focused), "row i-0002", "the focus is back where it was");

    // Arrow keys go from change to change; `End` is the present.
    browser.eval("show({ filter: '' })");
    browser.eval("document.getElementById('slider').focus()");
    let when = |browser: &mut Browser| browser.text("document.getElementById('slider').ariaValueText");
    assert_eq!(when(&mut browser), "2026-09-21 14:13:20 UTC, now");
    browser.press("ArrowLeft");
    assert_eq!(when(&mut browser), "2026-09-21 14:10:20 UTC, 3 min before; i-0007 state done → draining");
    browser.press("ArrowLeft");
    assert_eq!(when(&mut browser), "2026-09-21 13:48:20 UTC, 25 min before; i-0003 state done → wedged");
    assert_eq!(browser.text(focused), "slider");
    browser.press("ArrowRight");
    browser.press("ArrowRight");
    assert_eq!(when(&mut browser), "2026-09-21 14:13:20 UTC, now");
    browser.press("Home");
    assert_eq!(browser.eval("document.body.classList.contains('past')"), true);
    browser.press("End");
    assert_eq!(when(&mut browser), "2026-09-21 14:13:20 UTC, now");

    // A redrawn heading keeps the focus.
    browser.eval("document.querySelector('th.c-id button').focus()");
    browser.press("Enter");
    browser.press("Enter");
    assert_eq!(browser.text(focused), "sort id");
    assert_eq!(browser.eval("document.querySelector('th.c-id').ariaSort"), "descending");
    is_in_order(&mut browser, "keyboard");
}

/// Texts whose contrast to what is behind them is below 4.5 to 1.
const FAINT: &str = r"(() => {
    const numbers = (color) => {
        const drawing = new OffscreenCanvas(1, 1).getContext('2d');
        drawing.fillStyle = color;
        drawing.fillRect(0, 0, 1, 1);
        return [...drawing.getImageData(0, 0, 1, 1).data];
    };
    const light = (color) => {
        const [red, green, blue] = numbers(color).map((one) => one / 255)
            .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const behind = (element) => {
        for (let one = element; one; one = one.parentElement) {
            const style = getComputedStyle(one);
            const color = one instanceof SVGElement && one.tagName !== 'svg' ? 'rgba(0, 0, 0, 0)' : style.backgroundColor;
            if (numbers(color)[3] === 255) return color;
        }
        return 'white';
    };
    const found = new Set();
    for (const element of document.querySelectorAll('body *')) {
        const own = [...element.childNodes].some((one) => one.nodeType === 3 && one.data.trim());
        if (!own || !element.checkVisibility() || element.closest(':disabled, script, noscript, title, option')) continue;
        let opacity = 1;
        for (let one = element; one; one = one.parentElement) opacity *= getComputedStyle(one).opacity;
        const style = getComputedStyle(element);
        const [one, other] = [light(element instanceof SVGElement ? style.fill : style.color), light(behind(element))];
        const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        if (contrast < 4.5 || opacity < 1) found.add(`${element.tagName} ${element.textContent.slice(0, 30)}: ${contrast}`);
    }
    return [...found];
})()";

#[test]
fn is_readable_and_has_names_for_everything() {
    let mut browser = Browser::start();
    let site = Site::of(&fleet(40, 200).data);
    browser.open(&site.url(""), DESKTOP);
    for dark in [false, true] {
        browser.look(Look { dark, ..DESKTOP });
        for view in
            ["{ at: null, node: null }".to_owned(), format!("{{ at: {}, node: 'i-0002' }}", AT - 3600)]
        {
            browser.eval(&format!("show({view})"));
            browser.settle();
            assert_eq!(browser.eval(FAINT), json!([]), "dark: {dark}, {view}");
        }
    }
    let tree = browser.call("Accessibility.getFullAXTree", json!({}));
    let mut seen = Vec::new();
    for node in tree["nodes"].as_array().unwrap() {
        let (role, name) = (node["role"]["value"].as_str().unwrap_or_default(), &node["name"]["value"]);
        let is_named =
            ["button", "link", "slider", "searchbox", "combobox", "table", "columnheader", "region"];
        if node["ignored"] == false && is_named.contains(&role) {
            assert!(role == "table" || name.as_str().is_some_and(|name| !name.trim().is_empty()), "{node}");
            seen.push(role.to_owned());
        }
    }
    for role in ["button", "link", "slider", "searchbox", "combobox", "table", "columnheader", "region"] {
        assert!(seen.iter().any(|one| one == role), "no {role}: {seen:?}");
    }
    is_in_order(&mut browser, "names");
}

#[test]
fn is_printed_in_light_and_whole() {
    let mut browser = Browser::start();
    let site = Site::of(&fleet(40, 200).data);
    browser.open(&site.url(""), Look { dark: true, ..DESKTOP });
    let pdf = browser.print();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("40.pdf"), &pdf).unwrap();
    assert!(pdf.starts_with(b"%PDF-"));
    let text = String::from_utf8_lossy(&pdf);
    let pages = text.matches("/Type /Page\n").count();
    assert!((2..=5).contains(&pages), "{pages} pages");
    browser.call("Emulation.setEmulatedMedia", json!({ "media": "print" }));
    browser.settle();
    assert_eq!(browser.eval("getComputedStyle(document.body).backgroundColor"), "rgb(255, 255, 255)");
    assert_eq!(browser.eval("document.getElementById('slider').checkVisibility()"), false);
    assert_eq!(texts(&mut browser, "#table tbody tr").len(), 40);
    is_in_order(&mut browser, "print");
}

#[test]
fn a_store_without_history_and_one_that_begins_late_are_not_guessed_at() {
    let mut browser = Browser::start();
    let mut data = fleet(12, 60).data;
    data["history"]["begins"] = (AT - 7200).into();
    data["history"]["from"] = (AT - 7200).into();
    data["stores"][0]["history"] = "begins".into();
    let events = data["history"]["events"].as_array_mut().unwrap();
    events.retain(|event| event[0].as_i64().unwrap() > AT - 7200);
    browser.open(&Site::of(&data).url(&format!("#at={}", AT - 10_000)), DESKTOP);
    assert!(text(&mut browser, "#when").starts_with("past 2026-09-21 12:13:20 UTC"));
    assert!(
        text(&mut browser, "#lanes-note").contains("The known history begins at 2026-09-21 12:13:20 UTC.")
    );
    is_in_order(&mut browser, "begins");

    data["history"] = json!({ "begins": null, "cut": false, "from": null, "events": [] });
    data["stores"][0]["history"] = "none".into();
    browser.open(&Site::of(&data).url("#at=5"), DESKTOP);
    assert_eq!(browser.eval("document.getElementById('slider').checkVisibility()"), false);
    assert!(text(&mut browser, "#dock").contains("Nothing before this moment is known."));
    assert_eq!(text(&mut browser, "#changes"), "This store keeps no history.");
    assert_eq!(texts(&mut browser, "#table tbody tr").len(), 12);

    data["nodes"] = json!([]);
    data["stores"][0]["problem"] = "connection refused".into();
    browser.open(&Site::of(&data).url(""), DESKTOP);
    assert_eq!(text(&mut browser, "#headline"), "The list could not be read");
    assert!(text(&mut browser, "#alerts").contains("connection refused"));
    is_in_order(&mut browser, "none");
}
