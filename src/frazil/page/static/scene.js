"use strict";
// The molecules of the page: packed arrays -> numbers, and atoms as 3Dmol.js takes them.

function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

async function unpacked(text) {
  const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

function positions(packed) {
  const whole = new Int16Array(bytes(packed.data).buffer);
  return Float32Array.from(whole, (value) => value * packed.step);
}

class Scene {
  constructor(content) {
    Object.assign(this, content);
    this.count = this.atoms.element.length;
    this.place = positions(content.coords);
    this.samples = this.place.length / (3 * this.count);
    this.share = bytes(content.local);
    this.polymer = this.atoms.polymer.includes(1);
    this.bonded = Array.from({ length: this.count }, () => []);
    for (let k = 0; k < this.bonds.length; k += 3) {
      const [i, j, order] = this.bonds.slice(k, k + 3);
      this.bonded[i].push([j, order]);
      this.bonded[j].push([i, order]);
    }
    this.movies = new Map(content.trajectories.map((one) => [one.sample, new Movie(one, this)]));
  }

  coordinates(sample) {
    return this.place.subarray(3 * this.count * sample, 3 * this.count * (sample + 1));
  }

  // lDDT of an atom to the other samples, null where there is nothing to compare
  agreement(sample, atom) {
    const value = this.share[sample * this.count + atom];
    return value === 255 ? null : value / 200;
  }

  // bonds longer than `longest` are left out: in noise there are none
  specs(sample, xyz, longest = Infinity, visible = () => true) {
    const a = this.atoms;
    const near = (i, j) => {
      const d = [0, 1, 2].map((k) => xyz[3 * i + k] - xyz[3 * j + k]);
      return d[0] * d[0] + d[1] * d[1] + d[2] * d[2] <= longest * longest;
    };
    return a.element.map((elem, i) => {
      const kept = this.bonded[i].filter(([j]) => visible(i) && visible(j) && near(i, j));
      return {
        elem, serial: i, index: i, x: xyz[3 * i], y: xyz[3 * i + 1], z: xyz[3 * i + 2], atom: a.name[i],
        resn: a.residue[i], resi: a.number[i], chain: a.chain[i], hetflag: !a.polymer[i], ss: a.fold[i],
        bonds: kept.map(([j]) => j), bondOrder: kept.map(([, order]) => order), properties: { sample, i },
      };
    });
  }
}

// Frames from noise to the sample itself, which is the last one.
class Movie {
  constructor(content, scene) {
    this.scene = scene;
    this.sample = content.sample;
    this.sigma = [...content.sigma, 0];
    this.unit = content.unit;
    this.step = [...content.step, content.step[content.step.length - 1]];
    this.noisy = positions(content.noisy);
    this.denoised = positions(content.denoised);
    this.frames = this.sigma.length;
  }

  heavyFrame(kind, frame) {
    const size = 3 * this.scene.heavy.length;
    if (frame < this.frames - 1) return this[kind].subarray(frame * size, (frame + 1) * size);
    const whole = this.scene.coordinates(this.sample);
    return Float32Array.from(this.scene.heavy.flatMap((atom) => [...whole.subarray(3 * atom, 3 * atom + 3)]));
  }

  // all atoms at a moment between two frames; hydrogens sit on their heavy atoms, to be hidden
  coordinates(kind, moment) {
    const before = Math.floor(moment), share = moment - before;
    const a = this.heavyFrame(kind, before), b = this.heavyFrame(kind, Math.min(before + 1, this.frames - 1));
    const parent = this.scene.atoms.parent, found = new Float32Array(3 * this.scene.count);
    for (let i = 0; i < this.scene.count; i += 1) {
      for (let k = 0; k < 3; k += 1) {
        const at = 3 * parent[i] + k;
        found[3 * i + k] = a[at] + (b[at] - a[at]) * share;
      }
    }
    return found;
  }
}
