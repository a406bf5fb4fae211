// Chooses one part of the tables and plots at a time, and shows pictures at the same place.
// Without this script everything is shown, one after the other.
"use strict";

const MOST_BUTTONS = 7; // a longer list becomes a select

for (const box of document.querySelectorAll("[data-switch]")) {
  const parts = [...box.children];
  const names = box.dataset.switch.split(" ");
  const chosen = {};

  const show = () => {
    for (const part of parts) part.hidden = names.some((name) => part.dataset[name] !== chosen[name]);
  };

  const choices = [];
  for (const name of names) {
    const values = [...new Set(parts.map((part) => part.dataset[name]))];
    chosen[name] = values.includes("all") ? "all" : values[0];
    if (values.length < 2) continue;
    const choose = (value) => { chosen[name] = value; show(); };
    const control = values.length > MOST_BUTTONS ? makeSelect(values, chosen[name], choose) : makeRadios(name, values, chosen[name], choose);
    const fieldset = document.createElement("fieldset");
    const legend = document.createElement("legend");
    legend.textContent = name;
    fieldset.append(legend, ...control);
    choices.push(fieldset);
  }
  box.prepend(...choices);
  show();
}

function makeRadios(name, values, first, choose) {
  const group = `${name}-${document.querySelectorAll("fieldset").length}`;
  return values.map((value) => {
    const label = document.createElement("label");
    const input = document.createElement("input");
    Object.assign(input, { type: "radio", name: group, value, checked: value === first });
    input.addEventListener("change", () => choose(value));
    label.append(input, value);
    return label;
  });
}

function makeSelect(values, first, choose) {
  const select = document.createElement("select");
  select.append(...values.map((value) => new Option(value, value, false, value === first)));
  select.setAttribute("aria-label", "what is shown");
  select.addEventListener("change", () => choose(select.value));
  return [select];
}

const viewer = document.getElementById("viewer");
const stage = viewer.querySelector(".stage");
let shown = 0;
let captions = [];

function flip(to) {
  const images = stage.children;
  shown = (to + images.length) % images.length;
  [...images].forEach((image, i) => image.classList.toggle("shown", i === shown));
  const [title, said] = viewer.querySelectorAll(".said > *");
  title.textContent = captions[shown].querySelector("strong").textContent;
  said.textContent = captions[shown].querySelector("span")?.textContent ?? "";
  viewer.querySelector(".place").textContent = `${shown + 1} / ${images.length}`;
}

function openAt(image) {
  const images = [...image.closest(".strip").querySelectorAll("img")];
  captions = images.map((one) => one.parentElement.querySelector("figcaption"));
  stage.replaceChildren(...images.map((one) => {
    const copy = one.cloneNode(); // all of them lie on top of each other, so that a flip has nothing to load
    for (const name of ["loading", "tabindex", "role"]) copy.removeAttribute(name);
    return copy;
  }));
  flip(images.indexOf(image));
  viewer.showModal();
}

for (const image of document.querySelectorAll(".strip img")) {
  image.tabIndex = 0;
  image.setAttribute("role", "button");
  image.addEventListener("click", () => openAt(image));
  image.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    openAt(image);
  });
}

viewer.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step === undefined) return;
  event.preventDefault();
  flip(shown + step);
});

viewer.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.go) flip(shown + Number(button.dataset.go));
  else if (button || event.target === viewer) viewer.close();
  else if (event.target.closest("img")) flip(shown + 1);
});

viewer.addEventListener("close", () => stage.replaceChildren());
