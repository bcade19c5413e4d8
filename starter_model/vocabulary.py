"""Word lists from which values and wordings are drawn."""


def _words(text: str, separator: str | None = None) -> tuple[str, ...]:
    return tuple(text.split(separator))


FIRST_NAMES = _words(
    "Anna Ben Carla Dario Elena Farid Greta Hugo Ines Jonas Kaya Leon Mira Nadia Omar Paula Quentin Rosa Samir Tessa "
    "Ulrich Vera Wanda Xenia Yusuf Zoe Aisha Bruno Chloe Diego Edith Felix Gina Hassan Ivan Julia Karim Lena Marco "
    "Nora Oscar Petra Ravi Sofia Tomas Uma Victor Wei Yara Zane Alma Boris Clara Dmitri Esther Fiona Gustav Helga "
    "Igor Jade Kofi Lucia Mateo Naomi Otto Priya Rafael Selma Theo Ursula Vikram Willa Amara Bilal Celine Dora Emil "
    "Freya George Hanna Idris Joana Kenji Lars Mei Nils Olga Pedro Ruth Simon Talia Viola Walter Ada Bjorn Cora Dean "
    "Elsa Frank Grace Harold Iris Jack Kate Liam Maya Noah Olive Peter Rhea Stella Tariq Vincent Wendy"
)
LAST_NAMES = _words(
    "Adler Bauer Castillo Dvorak Eriksen Farouk Garcia Hansen Ibrahim Jansen Kowalski Larsen Moreau Nakamura Okafor "
    "Petrov Quinn Rossi Silva Tanaka Ueda Vargas Weber Xu Yilmaz Zimmer Abbott Brandt Conti Duarte Esposito Fischer "
    "Grant Haddad Ivanov Jensen Kim Lopez Mbeki Novak Ortiz Park Ramirez Santos Takeda Urban Volkov Walsh Young "
    "Zhang Almeida Burke Chen Diaz Engel Flores Gupta Holm Iyer Jung Khan Lindgren Marsh Nguyen Olsen Patel Reyes "
    "Sato Thorne Vance Wood Yates Archer Baker Cole Drake Ellis Frost Gray Hayes Irwin Kerr Lane Mills Nash Page "
    "Reed Stone"
)
PLACES = _words(
    "Lisbon Oslo Nairobi Kyoto Lima Cairo Dublin Prague Quito Riga Seoul Tunis Utrecht Vienna Warsaw Zagreb Accra "
    "Bergen Cordoba Dakar Edinburgh Florence Geneva Hanoi Istanbul Jakarta Krakow Lagos Madrid Naples Osaka Porto "
    "Reykjavik Santiago Toronto Valencia Wellington Yerevan Zurich Athens Bogota Chicago Delhi Essen Fez Glasgow "
    "Helsinki Izmir Jaipur Kigali London Mumbai Norwich Paris Rome Sydney Tokyo Boston Denver Austin Seattle Norway "
    "Peru Kenya Japan Brazil Canada Egypt France Ghana India Italy Mexico Nepal Poland Spain Sweden Turkey Chile "
    "Greece Ireland"
)
NOUNS = _words(
    "harbor garden mountain river library kitchen market museum forest island bridge castle valley meadow lantern "
    "orchard bakery workshop studio theater festival journey window mirror compass anchor barrel basket blanket "
    "bottle button camera candle carpet ceiling chair clock cloud coat copper corner cotton cradle crystal curtain "
    "desert diamond dinner door dragon drawer dream drum engine evening farmer feather fence field finger fire "
    "flower fountain fruit gate glass glove grain guitar hammer hill horse house hunter jacket jewel kettle ladder "
    "lake lamp leaf lemon letter light linen lion machine map marble mask match meal medal melody metal mill minute "
    "moon morning motor mouse music nail needle nest night notebook ocean office onion orange oven owl paint palace "
    "paper parade pearl pencil pepper piano picture pillow pilot planet plate pocket poem pond potato powder prize "
    "puzzle rabbit rain ribbon ring road robot rocket roof room root rope rose sail salt sand saddle school seed "
    "shadow shell ship shirt shop silver singer sky snow soap sock song soup spoon spring square stable stage star "
    "station steam stone storm story street sugar summer sun table tailor tea teacher temple thread thunder ticket "
    "tiger tower town toy train travel treasure tree truck tunnel turtle vessel village violin voice wagon wall "
    "water wave weather wheel whistle wind winter wolf wood wool writer year yard team project report meeting course "
    "lesson student member customer partner service order payment account budget plan goal task idea question answer "
    "guide recipe product sale offer price discount delivery review rating news article blog post photo video "
    "gallery event workout health medicine doctor patient science history art dance sport football tennis chess game "
    "player score software code data network server computer phone tablet keyboard screen battery energy climate "
    "animal dog cat bird fish bee coffee bread cheese butter honey apple banana cherry grape mango peach pear plum "
    "tomato carrot rice pasta salad sandwich pizza cake cookie chocolate milk juice"
)
ADJECTIVES = _words(
    "blue golden quiet ancient bright hidden gentle wild silver little grand early open secret happy modern simple "
    "local fresh green warm cold deep young old new rare soft loud swift clever brave calm clear curious daily "
    "distant easy empty famous final first free friendly full global good great heavy honest huge important kind "
    "large late lazy light long lucky lovely main major narrow natural neat noble northern perfect plain polite "
    "popular proud pure quick rapid ready rich round royal rural safe salty serious sharp short shy single sleepy "
    "slow small smart smooth social solid southern special spicy steady stormy strange strong sunny sweet tall "
    "tender thick thin tiny tropical unique urban useful vast vivid western white wise wooden wonderful yellow "
    "digital creative healthy busy foggy"
)
VERBS = _words(
    "opens closes brings carries builds crosses finds follows holds keeps leads leaves meets moves needs offers "
    "paints plays reaches reads rides sees sells sends serves shares shows sings starts stays takes teaches tells "
    "travels turns uses visits walks wants watches welcomes wins works writes grows helps joins learns likes loves "
    "makes"
)
PLURALS = _words(
    "visitors students neighbours travellers readers gardeners painters sailors farmers children musicians engineers "
    "birds letters stories ideas tickets boats lessons songs recipes photos flowers books trains cookies maps rooms "
    "questions members friends guests clients players writers teachers products services events customers"
)
TOPICS = _words(
    "pottery;astronomy;gardening;beekeeping;cycling;chess;photography;knitting;sailing;origami;calligraphy;hiking;"
    "baking;fishing;painting;archery;robotics;geology;recycling;volcanoes;dolphins;penguins;tea;coffee;castles;"
    "comets;dinosaurs;whales;bamboo;mushrooms;tulips;cheese;glaciers;lighthouses;windmills;bridges;kites;drums;"
    "violins;jazz;opera;poetry;typography;woodworking;carpentry;weaving;surfing;climbing;swimming;running;yoga;"
    "meditation;nutrition;sleep;solar energy;wind power;electric cars;space travel;deep sea fish;street food;"
    "city parks;folk dance;board games;home brewing;bird watching;machine learning;data privacy;open source;"
    "public transport;rock climbing;water polo;stage design;organic farming;tree houses;hot springs;night markets;"
    "old maps",
    ";",
)
COLOURS = _words(
    "red blue green orange purple teal navy maroon olive gray black white gold pink brown crimson coral salmon "
    "tomato khaki indigo violet orchid plum beige ivory lavender turquoise aqua cyan magenta lime chocolate tan "
    "lightblue lightgreen lightgray lightyellow darkblue darkgreen darkred darkorange steelblue slategray seagreen "
    "royalblue skyblue hotpink firebrick forestgreen goldenrod midnightblue mintcream aliceblue honeydew linen wheat "
    "thistle"
)
FONTS = ("Arial", "Georgia", "Verdana", "Tahoma", "Courier New", "Times New Roman", "Helvetica", "Trebuchet MS")
UNITS = ("kg", "g", "ml", "l", "cm", "km", "cups", "tbsp", "tsp", "pieces", "slices", "hours", "minutes", "days")
MONTHS = _words("January February March April May June July August September October November December")
DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
TLDS = ("com", "org", "net", "io", "dev", "info", "co", "eu", "de", "fr", "shop", "app")
IMAGE_TYPES = ("jpg", "png", "gif", "svg", "webp", "jpeg")
SYLLABLES = _words(
    "ba be bi bo bu ca ce co cu da de di do du fa fe fi fo ga go gu ha he hi ho ja jo ka ke ki ko la le li lo lu ma "
    "me mi mo mu na ne ni no nu pa pe pi po pu qua ra re ri ro ru sa se si so su ta te ti to tu va ve vi vo wa we wi "
    "xa xi ya yo za ze zi zo bra cre dri fro glu kla pla pre sha she sti tra tri the cho ben dan fer gal hol jin kel "
    "lor mar nor par quin ran sel tam ul ver wen xor yan zel ing ton ster ix or an el us ia eo"
)
COLUMN_NAMES = _words(
    "Name Age City Country Price Quantity Email Phone Title Author Year Score Rank Date Time Product Category Status "
    "Team Points Wins Losses Department Salary Role Size Color Weight Height Model Brand Stock Rating Genre Length "
    "Capital Population Language Grade Subject Room Teacher Company Amount Total Item Description Code Level Type ID"
)
FIELD_NAMES = _words(
    "Name;First name;Last name;Email;Phone;Age;City;Country;Address;Company;Job title;Website;Birthday;Date;Time;"
    "Password;Username;Message;Comments;Subject;Quantity;Price;Zip code;Street;Nickname;Favorite color;Notes;Budget;"
    "Number of guests;Arrival date;Order number;Feedback;Rating;Biography;School;Department;Start time;Postal code;"
    "Card number;Topic;Suggestions;Team name;Student ID;Salary;Height;Weight;Product code;Delivery date",
    ";",
)
BUTTON_WORDS = _words(
    "Submit;Send;Save;Click me;Press here;Sign up;Log in;Register;Continue;Next;Start;Buy now;Order;Subscribe;Join;"
    "Apply;Search;Go;Book now;Download;Show more;Try it;Reset;Add to cart;Learn more;Get started;Confirm;Vote;Open",
    ";",
)
MENU_WORDS = _words(
    "Home About Contact Services Products Blog News Gallery Team Careers Shop Pricing FAQ Support Events Portfolio "
    "Login Help Store Projects Menu Courses Resources Docs Community Partners Reviews Locations Archive Press"
)

# For the tokenizer only: words that are rare in generated rows.
TAGS = _words(
    "a abbr address area article aside audio b base blockquote body br button canvas caption center cite code col "
    "colgroup data datalist dd del details dfn dialog div dl dt em embed fieldset figcaption figure font footer form "
    "h1 h2 h3 h4 h5 h6 head header hgroup hr html i iframe img input ins kbd label legend li link main map mark menu "
    "meta meter nav noscript object ol optgroup option output p param picture pre progress q ruby s samp script "
    "section select slot small source span strong style sub summary sup svg table tbody td template textarea tfoot "
    "th thead time title tr track u ul var video wbr"
)
ATTRIBUTES = _words(
    "accept action align alt async autocomplete autofocus border cellpadding cellspacing charset checked class color "
    "cols colspan content controls data-id data-toggle datetime defer disabled download for frameborder headers "
    "height hidden href http-equiv id integrity kind label lang list loop max maxlength media method min multiple "
    "name novalidate onchange onclick onload onsubmit pattern placeholder property readonly rel required role rows "
    "rowspan scope selected sizes span src srcset start step style tabindex target title type value viewport width "
    "aria-label bgcolor crossorigin"
)
STYLE_WORDS = _words(
    "align-items animation background background-color background-image background-size border border-bottom "
    "border-collapse border-color border-radius bottom box-shadow box-sizing clear color column-gap content cursor "
    "display flex flex-direction flex-wrap float font-family font-size font-style font-weight gap grid "
    "grid-template-columns height hover justify-content left letter-spacing line-height list-style list-style-type "
    "margin margin-bottom margin-left margin-right margin-top max-width media min-height min-width opacity outline "
    "overflow padding padding-bottom padding-left padding-right padding-top position relative absolute fixed sticky "
    "right static text-align text-decoration text-transform top transform transition vertical-align visibility "
    "white-space width z-index auto block bold center collapse column dashed dotted flex-start flex-end "
    "space-between inherit initial inline inline-block italic none normal nowrap pointer rem repeat row sans-serif "
    "serif solid transparent underline uppercase wrap rgba hsl url important before after nth-child first-child "
    "last-child active visited focus ease-in-out"
)
SCRIPT_WORDS = _words(
    "addEventListener alert appendChild Array async await body break case catch className classList clearInterval "
    "console const constructor continue createElement currentTarget Date default delete document else event export "
    "false fetch forEach for from function getAttribute getElementById getElementsByClassName getElementsByTagName "
    "getFullYear getHours getMinutes if import in innerHTML innerText insertBefore isNaN join json JSON jQuery "
    "length let localStorage location log map Math max min new Number null Object of onclick onload parse parseFloat "
    "parseInt preventDefault prompt push querySelector querySelectorAll random remove removeChild replace return "
    "reverse round script setAttribute setInterval setTimeout sort split src String stringify style switch target "
    "textContent then this throw toggle toFixed toLocaleDateString toString toUpperCase toLowerCase trim true try "
    "typeof undefined value var while window"
)
COMMON_WORDS = _words(
    "the of and to in is that it was for on are as with his they at be this from have or by one had not but what all "
    "were when we there can an your which their said if do will each about how up out them then she many some so "
    "these would other into has more her two like him see time could no make than been its who now people my made "
    "over did down only way find use may water long little very after words called just where most know get through "
    "back much before go good new write our used me man too any day same right look think also around another came "
    "come work three word must because does part even place well such here take why things help put years different "
    "away again off went old number great tell men say small every found still between name should home big give air "
    "line set own under read last never us left end along while might next sound below saw something thought both "
    "few those always looked show large often together asked house world going want school important until form food "
    "keep children feet land side without boy once animals life enough took sometimes four head above kind began "
    "almost live page got earth need far hand high year mother light parts country father let night following "
    "picture being study second eyes soon times story boys since white days ever paper hard near sentence better "
    "best across during today others however sure means knew try told young miles sun ways thing whole hear example "
    "heard several change answer room sea against top turned learn point city play toward five using himself usually "
    "money seen car morning given person website web developer element attribute section header text display "
    "contains include following basic responsive layout information user users input output result generate create "
    "design build update edit convert below given code snippet structure style internal external external stylesheet "
    "inline bootstrap navigation sidebar dropdown checkbox radio validation click welcome hello contact about us "
    "email address phone first name last name password login register company business"
)
