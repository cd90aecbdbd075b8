"""How the page looks: colours that differ in lightness, too, and what can be pressed is 44 px high."""

from __future__ import annotations

import gradio as gr

__all__ = ["CSS", "THEME"]

THEME = gr.themes.Soft(primary_hue="blue", neutral_hue="slate", font=["system-ui", "sans-serif"])

CSS = """
.mw-picture { position: relative; margin: 0; line-height: 0; }
.mw-picture img { width: 100%; max-height: 72vh; object-fit: contain; }
.mw-overlay { position: absolute; inset: 0; height: 100%; opacity: var(--mw-opacity, .55);
  image-rendering: pixelated; }
.mw-image { cursor: crosshair; touch-action: manipulation; user-select: none; }
.mw-overlay, .mw-marks { pointer-events: none; }
.mw-marks { position: absolute; inset: 0; width: 100%; height: 100%; }
.mw-marks path, .mw-marks circle, .mw-marks g rect { stroke: #fff; }
.mw-box { fill: none; stroke: #fff; stroke-dasharray: 1% 1%; }
.mw-drag { position: fixed; border: 2px dashed #fff; outline: 1px solid #000; pointer-events: none; z-index: 9; }
.mw-click { display: flex; flex-wrap: wrap; align-items: center; gap: .5em; padding: .2em 0; }
.mw-click button { min-height: 44px; padding: 0 .7em; border-radius: 6px; cursor: pointer;
  border: 1px solid var(--border-color-primary); background: var(--button-secondary-background-fill);
  color: var(--body-text-color); }
.mw-click button:focus-visible { outline: 3px solid #d55e00; }
.mw-legend { list-style: none; margin: 0; padding: 0; }
.mw-legend li { padding: .35em 0; border-bottom: 1px solid var(--border-color-primary); }
.mw-head { display: flex; align-items: center; gap: .5em; }
.mw-acts { display: flex; flex-wrap: wrap; gap: .3em; padding-top: .25em; }
.mw-swatch { flex: none; width: 1.2em; height: 1.2em; border-radius: 3px; border: 2px dashed var(--body-text-color); }
.mw-accepted .mw-swatch { border-style: solid; }
.mw-cleaned .mw-swatch { border-style: none;
  background: repeating-linear-gradient(135deg, #808080 0 3px, #fff 3px 6px); }
.mw-name { font-weight: 600; overflow-wrap: anywhere; min-width: 0; }
.mw-facts { color: var(--body-text-color-subdued); flex: 1 0 5.5em; font-size: .85em; }
.mw-legend .mw-proposal button { min-width: 5.5em; }
.mw-saved { white-space: nowrap; }
.mw-legend button { min-height: 44px; min-width: 44px; margin: 0; padding: 0 .4em; font-size: .9em; font-weight: 500;
  border-radius: 6px; cursor: pointer;
  border: 1px solid var(--border-color-primary); background: var(--button-secondary-background-fill);
  color: var(--body-text-color); }
.mw-legend button[data-act=accept] { border-color: #0072b2; border-width: 2px; font-weight: 600; }
.mw-legend button:focus-visible { outline: 3px solid #d55e00; }
.mw-improve button { min-height: 44px; padding: 0 .9em; margin: .2em .4em .2em 0; border-radius: 6px; cursor: pointer;
  border: 1px solid var(--border-color-primary); background: var(--button-secondary-background-fill);
  color: var(--body-text-color); }
.mw-improve button.mw-first { border-color: #0072b2; border-width: 2px; font-weight: 600; }
.mw-improve button:focus-visible { outline: 3px solid #d55e00; }
.mw-improve progress { width: 100%; height: .9em; accent-color: #0072b2; }
.mw-improve svg { width: 100%; max-height: 60px; }
.mw-kept { font-weight: 600; }
.mw-legend button[aria-pressed=true] { border-color: #0072b2; border-width: 2px; font-weight: 600; }
.mw-like { display: flex; flex-wrap: wrap; align-items: center; gap: .5em; padding: .4em .8em;
  border-left: 4px solid #0072b2; }
.mw-like img { height: 56px; border-radius: 4px; }
.mw-like button { min-height: 44px; padding: 0 .9em; border-radius: 6px; cursor: pointer;
  border: 1px solid var(--border-color-primary); background: var(--button-secondary-background-fill);
  color: var(--body-text-color); }
.mw-like button:focus-visible { outline: 3px solid #d55e00; }
.mw-legend button[aria-expanded=true] { border-color: #0072b2; border-width: 2px; }
.mw-history { font-size: .8em; line-height: 1.4; margin-top: .4em; padding: .2em 0 .4em .8em;
  border-left: 4px solid #0072b2; }
.mw-history ol { margin: 0; padding-left: 1.6em; list-style: decimal; font-size: 1em; }
.mw-history li { border: none; margin: 0; padding: .1em 0; overflow-wrap: anywhere; font-size: 1em; }
.mw-unsaved { border: 2px solid #d55e00; border-radius: 4px; padding: 0 .3em; white-space: nowrap; }
#mw-accept-all, #mw-reject-all, #mw-undo, #mw-redo { min-height: 44px; }
#mw-status { min-height: 1.5em; }
#mw-status p { margin: .1em 0; }
#mw-status .mw-alert { border-left: 4px solid #d55e00; padding: .4em .8em; }
#mw-status button, .mw-switch { min-height: 44px; padding: 0 .9em; border-radius: 6px; cursor: pointer;
  border: 1px solid var(--border-color-primary); background: var(--button-secondary-background-fill);
  color: var(--body-text-color); }
#mw-status button { border-color: #0072b2; border-width: 2px; font-weight: 600; }
#mw-status button:focus-visible, .mw-switch:focus-visible { outline: 3px solid #d55e00; }
.mw-switch { display: flex; align-items: center; gap: .5em; }
.mw-track { width: 2.4em; height: 1.3em; border-radius: 1em; border: 2px solid var(--body-text-color); padding: 2px; }
.mw-track::after { content: ""; display: block; height: 100%; aspect-ratio: 1; border-radius: 50%;
  background: var(--body-text-color); }
.mw-switch[aria-checked=true] .mw-track { background: #0072b2; }
.mw-switch[aria-checked=true] .mw-track::after { margin-left: auto; background: #fff; }
#mw-like:not(:has(.mw-like)), #mw-notice:not(:has(.mw-notice)) { display: none; }
.mw-notice { border-left: 4px solid #d55e00; padding: .4em .8em; }
.mw-credit { font-size: .85em; color: var(--body-text-color-subdued); }
"""
