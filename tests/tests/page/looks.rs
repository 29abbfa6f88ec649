//! Dark and light, small and large.

use serde_json::Value;
use spark_tests::browser::{Key, Look};

use crate::stage::{Stage, Visit};

/// Brightness of what is behind everything, 0 black to 1 white.
const BRIGHTNESS: &str = "(() => {
    const shown = [document.body, document.documentElement].map((one) => getComputedStyle(one).backgroundColor).find((color) => !/, 0\\)$|transparent/.test(color));
    const canvas = document.createElement('canvas').getContext('2d');
    canvas.fillStyle = shown; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = canvas.getImageData(0, 0, 1, 1).data;
    return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255; })()";

async fn brightness(visit: &Visit<'_>) -> f64 {
    visit.evaluate(BRIGHTNESS).await.as_f64().unwrap()
}

/// The visitor's preference counts until something is chosen; then the choice does.
pub async fn schemes(stage: &Stage) {
    let visit = stage.visit(Look::DESK).await;
    visit.look(Look::DESK.light()).await;
    visit.until("light, as the system prefers", &format!("{BRIGHTNESS} > 0.7 || {BRIGHTNESS}")).await;
    let light = brightness(&visit).await;
    visit.look(Look::DESK).await;
    visit.until("dark, as the system prefers", &format!("{BRIGHTNESS} < 0.3 || {BRIGHTNESS}")).await;
    let dark = brightness(&visit).await;
    for (theme, want) in [("light", light), ("dark", dark), ("light", light), ("auto", dark)] {
        visit.click("#settings").await;
        visit.click(&format!("#set-theme [data-value={theme}]")).await;
        visit.press(Key::Escape).await;
        visit.until(&format!("{theme} by choice"), &format!("Math.abs({BRIGHTNESS} - {want}) < 0.01 || {BRIGHTNESS}")).await;
    }
    visit.end().await;
}

/// What is not as it must be at this width.
const FAULTS: &str = "(() => {
    const wide = document.documentElement.clientWidth;
    const faults = [];
    if (document.documentElement.scrollWidth > wide) faults.push(`the document is ${document.documentElement.scrollWidth} wide`);
    // What can be pushed sideways inside of something that fits can be read, and a text that ends in … says so.
    const slides = (one) => { for (let up = one.parentElement; up !== document.body; up = up.parentElement) {
      const style = getComputedStyle(up);
      if (/auto|scroll/.test(style.overflowX) || (style.overflowX !== 'visible' && style.textOverflow === 'ellipsis')) return true;
    } return false; };
    const told = (one) => `${one.localName}${one.id ? `#${one.id}` : ''}.${String(one.className.baseVal ?? one.className)}`;
    for (const one of document.querySelectorAll('body *')) {
      if (!one.checkVisibility({ visibilityProperty: true, opacityProperty: true }) || one.closest('svg, .unseen, .skip, dialog, option') || slides(one)) continue;
      const box = one.getBoundingClientRect();
      if (box.width > 0 && box.height > 0 && (box.right > wide + 1 || box.left < -1)) faults.push(`${told(one)} from ${Math.round(box.left)} to ${Math.round(box.right)}`);
    }
    for (const one of document.querySelectorAll('body *')) {
      const style = getComputedStyle(one);
      if (/auto|scroll/.test(style.overflowY) && one.scrollHeight > one.clientHeight + 1 && one.clientHeight > 0 && !one.closest('dialog')) faults.push(`${told(one)} scrolls beside the document`);
    }
    for (const one of document.querySelectorAll('section[data-section]')) {
      const heading = one.querySelector('h2');
      const size = heading && parseFloat(getComputedStyle(heading).fontSize);
      if (!heading?.checkVisibility() || size < 11) faults.push(`${one.id}: no heading that can be read`);
      if (one.getBoundingClientRect().height < 20) faults.push(`${one.id} has no height`);
      const small = [...one.querySelectorAll('td, th, p, li, dd, button')].find((found) => found.checkVisibility() && found.innerText?.trim() && parseFloat(getComputedStyle(found).fontSize) < 10);
      if (small) faults.push(`${told(small)} in ${one.id} is ${getComputedStyle(small).fontSize}: ${small.innerText.slice(0, 40)}`);
    }
    return faults.slice(0, 20); })()";

/// A phone and a very large screen show all sections; nothing is wider than the window, and only the document scrolls.
pub async fn sizes(stage: &Stage) {
    let visit = stage.visit(Look::PHONE).await;
    for (name, look) in [("360 px", Look::PHONE), ("3840 px", Look::WIDE), ("1440 px", Look::DESK)] {
        visit.look(look).await;
        visit.until(&format!("the window has {name}"), &format!("innerWidth === {} || innerWidth", look.width)).await;
        let mut faults = Value::Null;
        // The layout may take a frame or two to follow, charts with it.
        for _ in 0..20 {
            visit.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 20)))").await;
            faults = visit.evaluate(FAULTS).await;
            if faults == serde_json::json!([]) {
                break;
            }
        }
        assert_eq!(faults, serde_json::json!([]), "at {name}");
    }
    visit.end().await;
}
