use super::*;

/// Levels of `price size` texts.
fn levels(texts: &[&str]) -> Vec<DepthLevel> {
    let exact = |text: &str| {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let units = format!("{whole}{fraction}").parse().unwrap();
        Exact { units, scale: fraction.len() as u8 }
    };
    let level = |text: &&str| {
        let (price, size) = text.split_once(' ').unwrap();
        DepthLevel { price: exact(price), size: exact(size) }
    };
    texts.iter().map(level).collect()
}

fn numbers(book: &Book, side: BookSide) -> Vec<(f64, f64)> {
    book.numbers(side).collect()
}

const BIDS: [&str; 10] = [
    "45283.5 0.10000000",
    "45283.4 1.54582015",
    "45282.1 0.10000000",
    "45281.0 0.10000000",
    "45280.3 1.54592586",
    "45279.0 0.07990000",
    "45277.6 0.03310103",
    "45277.5 0.30000000",
    "45277.3 1.54602737",
    "45276.6 0.15445238",
];
const ASKS: [&str; 10] = [
    "45285.2 0.00100000",
    "45286.4 1.54571953",
    "45286.6 1.54571109",
    "45289.6 1.54560911",
    "45290.2 0.15890660",
    "45291.8 1.54553491",
    "45294.7 0.04454749",
    "45296.1 0.35380000",
    "45297.5 0.09945542",
    "45299.5 0.18772827",
];

#[test]
fn the_checksum_of_the_documentation_of_kraken() {
    let mut book = Book::new();
    book.replace(&levels(&BIDS), &levels(&ASKS)).unwrap();
    assert_eq!(book.checksum_kraken(), 3_310_070_434);
}

#[test]
fn a_finer_price_changes_the_ticks_and_nothing_else() {
    let mut book = Book::new();
    book.replace(&levels(&BIDS), &levels(&ASKS)).unwrap();
    let before = [BookSide::Bid, BookSide::Ask].map(|side| numbers(&book, side));

    let fine = &levels(&["45283.5001 0", "45285.2000 2.5"]);
    book.update(&fine[..1], &fine[1..]).unwrap();

    assert_eq!(book.scale(), 4);
    assert_eq!(numbers(&book, BookSide::Bid), before[0]);
    assert_eq!(numbers(&book, BookSide::Ask)[0], (45285.2, 2.5));
    assert_eq!(numbers(&book, BookSide::Ask)[1..], before[1][1..]);
    book.update(&[], &levels(&["45285.2 0.00100000"])).unwrap();
    assert_eq!(book.checksum_kraken(), 3_310_070_434, "texts are kept as written");
}

#[test]
fn a_price_that_does_not_fit_is_refused_and_zeros_are_not_precision() {
    let mut book = Book::new();
    book.update(&levels(&["18446744073709551615 1"]), &[]).unwrap();
    assert_eq!(book.update(&levels(&["0.5 1"]), &[]), Err(PriceRange));
    book.update(&[], &levels(&["18446744073709551.000 1"])).unwrap();
    assert_eq!(book.best(BookSide::Ask), Some(18_446_744_073_709_551));

    let far = [levels(&["1 1"]), levels(&["0.00000000000000000000001 1"])].concat();
    assert_eq!(Book::new().replace(&far, &[]), Err(PriceRange));
    assert_eq!(Book::new().replace(&far[1..], &[]), Ok(()));
}

#[test]
fn levels_are_put_replaced_and_taken_away() {
    let mut book = Book::new();
    book.update(&levels(&["10 1", "11 2", "10 3", "9 5", "9 0", "8 0"]), &levels(&["12 4"]))
        .unwrap();
    assert_eq!(numbers(&book, BookSide::Bid), [(11.0, 2.0), (10.0, 3.0)]);
    assert!(!book.is_crossed());
    book.update(&levels(&["12 1"]), &[]).unwrap();
    assert!(book.is_crossed());
}
