"use strict";
// The page of one input: viewer, table and plots look at the same sample.

const find = (query, inside = document) => inside.querySelector(query);
const findAll = (query, inside = document) => [...inside.querySelectorAll(query)];

function made(tag, text, className = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  element.className = className;
  return element;
}

class Page {
  constructor(content) {
    this.content = content;
    this.row = content.shown[0];
    this.playing = null;
    this.table();
    this.marks();
  }

  // place of a row's sample among those with coordinates, -1 for none
  place(row) {
    return this.content.shown.indexOf(row);
  }

  movie() {
    return this.viewer ? this.viewer.scene.movies.get(this.place(this.row)) : undefined;
  }

  // ---- table

  table() {
    const head = find("#table thead tr");
    this.content.columns.forEach((column, k) => {
      const cell = made("th", column.title);
      cell.title = column.hint;
      cell.onclick = () => this.sort(k, cell);
      head.append(cell);
    });
    const body = find("#table tbody");
    this.rows = this.content.rows.map((_, row) => {
      const usable = this.place(row) >= 0;
      const line = made("tr", "", usable ? "pick" : "lost");
      this.content.columns.forEach((column) => {
        line.append(made("td", column.cells[row], column.marks.length ? column.marks[row] : ""));
      });
      if (!usable) line.title = this.content.rows[row].missing;
      if (usable) line.onclick = () => this.show(row);
      line.dataset.row = row;
      body.append(line);
      return line;
    });
    document.addEventListener("keydown", (event) => this.step(event));
  }

  sort(k, cell) {
    const values = this.content.columns[k].values, down = cell.classList.contains("up");
    findAll("#table th").forEach((one) => one.classList.remove("up", "down"));
    cell.classList.add(down ? "down" : "up");
    const last = down ? -Infinity : Infinity, key = (line) => values[line.dataset.row] ?? last;
    const body = find("#table tbody");
    [...body.children].sort((a, b) => (down ? key(b) - key(a) : key(a) - key(b))).forEach((line) => body.append(line));
  }

  step(event) {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by || event.target.matches("select, input")) return;
    const lines = findAll("#table tbody tr.pick"), next = lines[lines.indexOf(this.rows[this.row]) + by];
    if (!next) return;
    event.preventDefault();
    this.show(Number(next.dataset.row));
  }

  // ---- marks in the plots

  marks() {
    findAll("svg [data-mark]").forEach((mark) => {
      const [kind, ...rest] = mark.dataset.mark.split("-");
      const numbers = rest.slice(0, kind === "pair" ? 2 : 1).map(Number);
      const text = rest.slice(numbers.length).join("-");
      mark.append(this.tip(kind, numbers, text));
      mark.addEventListener("click", () => this.clicked(kind, numbers, text));
    });
  }

  tip(kind, numbers, text) {
    const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
    const samples = numbers.map((row) => (this.content.rows[row] ? this.content.rows[row].sample : row));
    const known = { sample: `sample ${samples[0]}: ${text}`, pair: `samples ${samples.join(" and ")}: ${text} Å` };
    title.textContent = known[kind] ?? text;
    return title;
  }

  clicked(kind, numbers, text) {
    if (kind === "sample") this.show(numbers[0]);
    else if (kind === "pair" && numbers[0] === numbers[1]) this.show(numbers[0]);
    else if (kind === "pair") this.compare(numbers, text);
    else if (kind === "frame" && this.movie()) this.seek(numbers[0]);
    else if (kind === "atom" && this.viewer) this.viewer.point([numbers[0]], text);
  }

  // ---- what is shown

  show(row, which = "one") {
    this.pause();
    this.row = row;
    if (this.viewer) {
      Object.assign(this.viewer, { selected: this.place(row), which, pair: null, moment: null });
      this.viewer.gl.removeAllShapes();
      this.viewer.draw();
    }
    this.refresh();
    this.restraints();
  }

  compare(rows, text) {
    this.pause();
    this.row = rows[0];
    if (!this.viewer) return;
    const places = rows.map((row) => this.place(row));
    Object.assign(this.viewer, { selected: places[0], pair: places, moment: null });
    this.viewer.gl.removeAllShapes();
    this.viewer.draw();
    this.refresh(`${text} Å apart`);
  }

  refresh(apart = "") {
    const viewer = this.viewer, pair = viewer && viewer.pair ? viewer.pair.map((place) => this.content.shown[place]) : [];
    this.rows.forEach((line, row) => line.classList.toggle("on", row === this.row || pair.includes(row)));
    this.rows[this.row].scrollIntoView({ block: "nearest" });
    findAll("svg [data-mark]").forEach((mark) => {
      const [kind, first, second] = mark.dataset.mark.split("-");
      const together = kind === "pair" && pair.length && [first, second].sort().join() === pair.map(String).sort().join();
      mark.classList.toggle("on", (kind === "sample" && Number(first) === this.row) || Boolean(together));
    });
    document.body.dataset.sample = this.content.rows[this.row].sample;
    if (!viewer) return;
    document.body.dataset.which = viewer.pair ? "pair" : viewer.which;
    findAll("#which button").forEach((one) => one.classList.toggle("on", !viewer.pair && one.dataset.which === viewer.which));
    find("#view .caption").textContent = this.caption(pair, apart);
    this.legend(pair);
    this.movieControls();
  }

  caption(pair, apart) {
    const name = (row) => this.content.rows[row].sample;
    if (pair.length) return `samples ${pair.map(name).join(" and ")}, ${apart}`;
    if (this.viewer.which === "all" && this.viewer.moment === null) return `${this.viewer.scene.samples} samples, ${name(this.row)} in front`;
    return `sample ${name(this.row)}`;
  }

  legend(pair) {
    const box = find("#view .legend"), scene = this.viewer.scene;
    box.replaceChildren();
    const entry = (colour, text) => {
      const item = made("span", text), spot = made("i", "");
      spot.style.background = colour;
      item.prepend(spot);
      box.append(item);
    };
    const name = (place) => `sample ${this.content.rows[this.content.shown[place]].sample}`;
    if (this.viewer.colour === "agreement") {
      const bar = made("span", "", "ramp");
      bar.style.background = `linear-gradient(90deg, ${RAMP.map(([at, colour]) => `${colour} ${at * 100}%`).join(", ")})`;
      box.append(made("span", "local lDDT to the other samples: 0"), bar, made("span", "1"));
    } else if (pair.length) {
      this.viewer.pair.forEach((place) => entry(sampleColour(place), name(place)));
    } else if (this.viewer.colour === "sample" && scene.samples <= 12) {
      scene.sampleList.forEach((place) => entry(sampleColour(place), name(place)));
    } else if (this.viewer.colour === "chain" || (this.viewer.style === "cartoon" && this.viewer.colour === "element")) {
      scene.chains.slice(0, 12).forEach((chain) => entry(this.viewer.chainColour(chain), `chain ${chain}`));
    } else {
      const present = [...new Set(["C", ...scene.atoms.element])].filter((one) => one !== "H" || this.viewer.hydrogens);
      present.slice(0, 10).forEach((element) => entry(elementColour(element), element));
    }
  }

  restraints() {
    const box = find("#restraints"), lines = this.content.rows[this.row].restraints;
    box.hidden = !lines.length;
    box.replaceChildren(made("h2", `Restraints of sample ${this.content.rows[this.row].sample}`));
    const list = made("ul", "");
    lines.forEach((line) => {
      const item = made("li", line.text, line.kept ? "" : "broken");
      item.onclick = () => {
        findAll("li", list).forEach((one) => one.classList.toggle("on", one === item));
        this.pointAt(line);
      };
      list.append(item);
    });
    box.append(list);
  }

  pointAt(line) {
    if (!this.viewer) return;
    const names = this.viewer.scene.names, found = line.label.split(",").map((name) => names.indexOf(name.trim()));
    Object.assign(this.viewer, { which: "one", pair: null, moment: null });
    this.viewer.point(found.filter((atom) => atom >= 0), line.text.slice(line.text.indexOf(": ") + 2).split(",")[0]);
    this.refresh();
  }

  // ---- from noise to structure

  movieControls() {
    const movie = this.movie(), box = find(".movie");
    box.hidden = !movie;
    if (!movie) return;
    const slider = find("#frame"), moment = this.viewer.moment ?? movie.frames - 1;
    slider.max = movie.frames - 1;
    slider.value = moment;
    const frame = Math.min(Math.floor(moment + 1e-6), movie.frames - 1), last = frame === movie.frames - 1;
    find("#moment").textContent = last ? "structure" : `${movie.unit} ${movie.step[frame]}, σ = ${movie.sigma[frame].toPrecision(3)} Å`;
    find("#play").textContent = this.playing === null ? "▶ Noise to structure" : "❚❚ Pause";
    document.body.dataset.frame = frame;
    findAll('svg [data-mark^="frame-"]').forEach((mark) => {
      mark.classList.toggle("on", Number(mark.dataset.mark.split("-")[1]) === frame && this.viewer.moment !== null);
    });
  }

  seek(moment) {
    this.viewer.gl.removeAllShapes();
    Object.assign(this.viewer, { moment, which: "one", pair: null });
    this.viewer.draw();
    this.refresh();
  }

  play() {
    if (this.playing !== null) return this.pause();
    const movie = this.movie(), pace = Math.min(260, Math.max(50, 7000 / movie.frames));
    let start = this.viewer.moment ?? 0;
    if (start >= movie.frames - 1) start = 0;
    const began = performance.now();
    const tick = (now) => {
      const moment = Math.min(start + Math.max(0, now - began) / pace, movie.frames - 1);
      this.playing = moment < movie.frames - 1 ? requestAnimationFrame(tick) : null;
      this.seek(moment);
    };
    this.playing = requestAnimationFrame(tick);
  }

  pause() {
    if (this.playing !== null) cancelAnimationFrame(this.playing);
    this.playing = null;
    if (this.viewer) this.movieControls();
  }

  // ---- controls

  controls() {
    const viewer = this.viewer, scene = viewer.scene;
    viewer.picked = (place) => { if (viewer.moment === null) this.show(this.content.shown[place], viewer.which); };
    const offered = (known, kept) => Object.keys(known).filter(kept);
    const choose = (id, known, keys, field) => {
      const box = find(id);
      keys.forEach((key) => box.append(new Option(known[key], key, false, key === viewer[field])));
      box.onchange = () => { viewer[field] = box.value; viewer.draw(); this.refresh(); };
    };
    choose("#style", STYLES, offered(STYLES, (key) => key !== "cartoon" || scene.polymer), "style");
    choose("#colour", COLOURS, offered(COLOURS, (key) => scene.samples > 1 || (key !== "agreement" && key !== "sample")), "colour");
    findAll("#which button").forEach((one) => { one.onclick = () => this.show(this.row, one.dataset.which); });
    find("#which").hidden = scene.samples < 2;
    find("#hydrogens").hidden = !scene.atoms.element.includes("H");
    find("#hydrogens input").onchange = (event) => { viewer.hydrogens = event.target.checked; viewer.draw(); this.refresh(); };
    find("#names").onchange = (event) => { viewer.names = event.target.checked; viewer.draw(); };
    find("#spin").onchange = (event) => viewer.gl.spin(event.target.checked ? "y" : false, 0.6);
    find("#centre").onclick = () => viewer.centre();
    find("#picture").onclick = () => this.save();
    find("#play").onclick = () => this.play();
    find("#frame").oninput = (event) => { this.pause(); this.seek(Number(event.target.value)); };
    find("#denoised").onchange = (event) => {
      viewer.kind = event.target.checked ? "denoised" : "noisy";
      if (viewer.moment !== null) this.seek(viewer.moment);
    };
  }

  async save() {
    const link = document.createElement("a");
    link.href = await this.viewer.picture();
    link.download = `${this.content.name}.png`;
    link.click();
  }
}

function tell(text) {
  find("#message").hidden = false;
  find("#message").textContent = text;
}

async function begin() {
  const page = new Page(JSON.parse(await unpacked(find("#payload").textContent)));
  window.frazilPage = page;
  find("#licences").onclick = async (event) => {
    event.preventDefault();
    if (!find("pre.licences")) find("footer").append(made("pre", await unpacked(find("#bundle-licences").textContent), "licences"));
  };
  const script = document.createElement("script");
  script.textContent = await unpacked(find("#bundle").textContent);
  document.head.append(script);
  try {
    const scene = new Scene(page.content.scene);
    scene.sampleList = page.content.shown.map((_, place) => place);
    page.viewer = new Viewer(find("#view"), scene);
    page.controls();
  } catch (error) {
    tell(`The molecules cannot be drawn here (${error.message}): the browser needs WebGL. Table and plots work without it.`);
  }
  page.show(page.row, page.viewer ? page.viewer.which : "one");
  document.body.dataset.ready = "yes";
}

if (typeof DecompressionStream === "undefined") tell("This browser is too old for the page: it lacks DecompressionStream (2023).");
else begin();
