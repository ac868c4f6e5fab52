"use strict";
// The 3-D viewer: which samples are drawn, how, and the movie from noise to structure.

const STYLES = { sticks: "sticks", balls: "balls and sticks", lines: "lines", cartoon: "cartoon", spheres: "spheres" };
const COLOURS = { element: "element", agreement: "agreement", sample: "sample", chain: "chain" };
const LONGEST_BOND = 2.3;
const MANY_ATOMS = 700;

class Viewer {
  constructor(element, scene) {
    this.element = element;
    this.scene = scene;
    this.which = scene.samples > 1 ? "all" : "one";
    this.selected = 0;
    this.pair = null;
    this.style = scene.polymer ? "cartoon" : "sticks";
    this.colour = !scene.polymer ? "element" : scene.samples > 1 ? "agreement" : "chain";
    this.hydrogens = false;
    this.names = false;
    this.moment = null;
    this.kind = "noisy";
    this.gl = $3Dmol.createViewer(element, { backgroundColor: "white", antialias: true, cartoonQuality: 8 });
    this.gl.setViewStyle({ style: "outline", color: "#4a5663", width: 0.012 });
    this.models = Array.from({ length: scene.samples }, (_, sample) => {
      const model = this.gl.addModel();
      model.addAtoms(scene.specs(sample, scene.coordinates(sample)));
      return model;
    });
    this.picked = () => {};
    this.gl.setHoverDuration(100);
    this.gl.setHoverable({}, true, (atom) => this.tell(atom), () => this.tell(null));
    this.gl.setClickable({}, true, (atom) => this.picked(atom.properties.sample));
    this.draw();
    this.centre();
  }

  // what an atom under the pointer is
  tell(atom) {
    if (this.tip) this.gl.removeLabel(this.tip);
    this.tip = null;
    if (atom && atom.properties && atom.properties.i !== undefined) {
      const share = this.scene.agreement(atom.properties.sample, atom.properties.i);
      const where = this.scene.polymer ? `${atom.chain} ${atom.resn}${atom.resi} ` : "";
      const local = share === null ? "" : `, lDDT ${share.toFixed(2)}`;
      this.tip = this.put(`${where}${atom.atom}${local}`, [atom.x, atom.y, atom.z]);
    }
    this.gl.render();
  }

  visible(sample) {
    if (this.moment !== null) return false;
    if (this.pair) return this.pair.includes(sample);
    return this.which === "all" || sample === this.selected;
  }

  draw() {
    this.gl.removeAllLabels();
    this.models.forEach((model, sample) => {
      model.setStyle({}, {});
      if (this.visible(sample)) this.dress(model, sample, this.which === "all" && !this.pair && sample !== this.selected);
    });
    this.drawMovie();
    if (this.names && this.moment === null) this.label();
    this.gl.render();
  }

  drawMovie() {
    if (this.movieModel) this.gl.removeModel(this.movieModel);
    this.movieModel = null;
    const movie = this.scene.movies.get(this.selected);
    if (this.moment === null || !movie) return;
    const xyz = movie.coordinates(this.kind, this.moment);
    const last = this.moment > movie.frames - 1.02;
    this.movieModel = this.gl.addModel();
    this.movieModel.addAtoms(this.scene.specs(this.selected, xyz, LONGEST_BOND, (i) => !this.isHydrogen(i)));
    if (last) this.dress(this.movieModel, this.selected, false);
    else if (this.scene.heavy.length > MANY_ATOMS) this.sketch();
    else this.dress(this.movieModel, this.selected, false, this.style === "spheres" ? "spheres" : "balls");
  }

  // a moment of a large structure: beads for residues, lines for bonds
  sketch() {
    const colorfunc = (atom) => this.paint(atom, this.selected, 0);
    const bead = { scale: 0.45, colorfunc: (atom) => this.paint(atom, this.selected, 0, true) };
    this.movieModel.setStyle({}, { line: { colorfunc } });
    this.movieModel.setStyle({ atom: ["CA", "P", "C1'"], hetflag: false }, { sphere: bead, line: { colorfunc } });
    this.movieModel.setStyle({ hetflag: true }, this.look("balls", colorfunc, false));
  }

  isHydrogen(atom) {
    return this.scene.atoms.element[atom] === "H";
  }

  dress(model, sample, faint, style = this.style) {
    const paint = (atom) => this.paint(atom, sample, faint ? 0.5 : 0);
    const ligand = { hetflag: true }, polymer = { hetflag: false };
    if (style === "cartoon") {
      const whole = (atom) => this.paint(atom, sample, faint ? 0.15 : 0, true);
      model.setStyle(polymer, { cartoon: { colorfunc: whole, thickness: faint ? 0.2 : 0.45, opacity: faint ? 0.7 : 1 } });
      model.setStyle(ligand, this.look("sticks", paint, faint));
    } else {
      model.setStyle({}, this.look(style, paint, faint));
    }
    if (!this.hydrogens || this.moment !== null) model.setStyle({ elem: "H" }, {});
  }

  look(style, colorfunc, faint) {
    const thin = faint ? 0.33 : 1;
    if (style === "lines") return { line: { colorfunc, linewidth: faint ? 1 : 3 } };
    if (style === "spheres") return { sphere: { colorfunc, scale: faint ? 0.5 : 1 } };
    const stick = { colorfunc, radius: (style === "balls" ? 0.1 : 0.15) * thin, doubleBondScaling: 0.55, singleBonds: faint };
    return style === "balls" ? { stick, sphere: { colorfunc, scale: 0.24 * thin } } : { stick };
  }

  // `pale`: share of white; `whole`: one colour for all elements, as a cartoon needs it
  paint(atom, sample, pale, whole = false) {
    const number = atom.properties.i, carbon = atom.elem === "C" || whole;
    let colour = elementColour(whole ? "C" : atom.elem);
    if (this.colour === "agreement") colour = ramp(this.scene.agreement(sample, number));
    else if ((this.pair || this.colour === "sample") && carbon) colour = sampleColour(sample);
    else if ((this.colour === "chain" || whole) && carbon) colour = this.chainColour(atom.chain);
    return pale ? mixed(colour, "#ffffff", pale) : colour;
  }

  chainColour(chain) {
    return CHAINS[this.scene.chains.indexOf(chain) % CHAINS.length];
  }

  label() {
    const sample = this.pair ? this.pair[0] : this.selected, xyz = this.scene.coordinates(sample);
    const apart = this.scene.polymer ? (i) => this.scene.atoms.name[i] === "CA" || this.scene.atoms.name[i] === "C1'" : () => true;
    this.scene.heavy.filter(apart).forEach((i) => {
      const a = this.scene.atoms, text = this.scene.polymer ? `${a.residue[i]}${a.number[i]}` : a.name[i];
      this.put(text, [xyz[3 * i], xyz[3 * i + 1], xyz[3 * i + 2]]);
    });
  }

  put(text, [x, y, z]) {
    return this.gl.addLabel(text, {
      position: { x, y, z }, fontSize: 12, fontColor: "#24303c", backgroundColor: "white", backgroundOpacity: 0.75,
      inFront: true, alignment: "center",
    });
  }

  // a dashed line through the atoms of a restraint, with what is said of it
  point(atoms, text) {
    this.gl.removeAllShapes();
    if (!atoms.length) return this.gl.render();
    const xyz = this.scene.coordinates(this.selected);
    const spots = atoms.map((number) => {
      const i = this.scene.heavy[number];
      return { x: xyz[3 * i], y: xyz[3 * i + 1], z: xyz[3 * i + 2] };
    });
    spots.forEach((center) => this.gl.addSphere({ center, radius: 0.38, color: "#e0a100", opacity: 0.75 }));
    for (let k = 1; k < spots.length; k += 1) {
      this.gl.addCylinder({ start: spots[k - 1], end: spots[k], radius: 0.06, color: "#e0a100", dashed: true });
    }
    this.draw();
    const middle = ["x", "y", "z"].map((axis) => spots.reduce((sum, spot) => sum + spot[axis], 0) / spots.length);
    this.put(text, middle);
    this.gl.render();
  }

  centre() {
    this.gl.zoomTo();
    this.gl.render();
  }

  async picture() {
    return this.gl.pngURI();
  }
}
