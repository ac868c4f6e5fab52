"use strict";
// Colours of atoms: by element, sample, chain, or agreement between samples.

const ELEMENTS = {
  H: "#cfd6dd", C: "#55616e", N: "#2d5fd3", O: "#d7332b", S: "#c79a00", P: "#e07a10", F: "#2ba24c", Cl: "#2ba24c",
  Br: "#96401f", I: "#6b2d8b", B: "#d98a75", Se: "#c07f1a",
};
const CHAINS = ["#1f6fb4", "#d9822b", "#3a8f5c", "#b5467e", "#7a5aa6", "#8c6d46", "#2a9d9d", "#c8473a"];
// as for pLDDT in the AlphaFold database: orange is uncertain, blue is sure
const RAMP = [[0.3, "#ff7d45"], [0.55, "#ffdb13"], [0.8, "#65cbf3"], [1.0, "#0053d6"]];

function channels(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

function mixed(first, second, share) {
  const a = channels(first), b = channels(second);
  return "#" + a.map((value, k) => Math.round(value + (b[k] - value) * share).toString(16).padStart(2, "0")).join("");
}

function ramp(value) {
  if (value === null) return "#b9c3cc";
  for (let k = 1; k < RAMP.length; k += 1) {
    const [low, from] = RAMP[k - 1], [high, to] = RAMP[k];
    if (value <= high) return mixed(from, to, Math.max(0, (value - low) / (high - low)));
  }
  return RAMP[RAMP.length - 1][1];
}

// hues far from each other for any number of samples: steps of the golden angle
function sampleColour(place) {
  const hue = (205 + place * 137.508) % 360, light = place % 2 ? 0.5 : 0.42;
  const reach = 0.62 * Math.min(light, 1 - light);
  const part = (n) => {
    const k = (n + hue / 30) % 12;
    return Math.round(255 * (light - reach * Math.max(-1, Math.min(k - 3, 9 - k, 1)))).toString(16).padStart(2, "0");
  };
  return "#" + part(0) + part(8) + part(4);
}

function elementColour(element) {
  if (ELEMENTS[element]) return ELEMENTS[element];
  const known = $3Dmol.elementColors.Jmol[element];
  return known === undefined ? "#8f6bb0" : "#" + known.toString(16).padStart(6, "0");
}
